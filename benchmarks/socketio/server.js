// The contender `socketio`: a token checked at the handshake, rooms, and emit to a room; nothing is stored.
"use strict";

const { createServer } = require("node:http");
const jwt = require("jsonwebtoken");
const { Server } = require("socket.io");

const secret = process.env.BENCH_SECRET;
const http = createServer();
const io = new Server(http, { transports: ["websocket"], perMessageDeflate: false, serveClient: false });

io.use((socket, next) => {
  jwt.verify(socket.handshake.auth.token, secret, { algorithms: ["HS256"], audience: "skillhub-chat" }, (error, claims) => {
    if (error) return next(error);
    socket.data.user = claims.sub;
    next();
  });
});

let seq = 0;

io.on("connection", (socket) => {
  socket.on("join", (room, joined) => {
    socket.join(room);
    joined();
  });
  socket.on("send", (message, stored) => {
    const ts = Date.now();
    seq += 1;
    io.to(message.room).emit("message", { room: message.room, seq, ts, sender: socket.data.user, text: message.text });
    stored({ seq, ts });
  });
});

http.listen(Number(process.env.BENCH_PORT), "127.0.0.1", 4096);

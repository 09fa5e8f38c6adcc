package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// What a frame from the server means to the load.
type meaning int

const (
	other meaning = iota
	delivery
	acknowledged
	refused
	alive // the server asks at the level of its own protocol
)

// A dialect says how one contender is spoken to; all of them over WebSocket text frames.
type dialect interface {
	path(token string) string
	subprotocol() string
	// enter drives a fresh connection until it is authenticated and, with a room, follows it.
	enter(s *socket, token, room string) error
	// send appends one message with an id and a text to dst.
	send(dst []byte, id uint64, room, text string) []byte
	// read tells what a frame is; for an acknowledgement also of which id.
	read(payload []byte) (meaning, uint64)
	// acks tells whether each message is acknowledged to its sender.
	acks() bool
	// pulse is what a client sends to stay connected, and what it answers to alive.
	pulse(id uint64) []byte
}

func dialectOf(name string) (dialect, error) {
	switch name {
	case "chat":
		return chat{}, nil
	case "socketio":
		return socketIO{}, nil
	case "plain":
		return plain{}, nil
	}
	return nil, fmt.Errorf("no dialect %q", name)
}

// chat is protocol v1 of this project (docs/protocol.md).
type chat struct{}

var (
	chatAck   = []byte(`{"type":"ack","id":"`)
	chatError = []byte(`{"type":"error"`)
	chatEvent = []byte(`{"kind":"message"`)
)

func (chat) path(string) string  { return "/v1/ws" }
func (chat) subprotocol() string { return "chat.v1" }

func (chat) enter(s *socket, token, room string) error {
	s.write([]byte(`{"type":"connect","id":"c","token":"` + token + `"}`))
	if _, err := s.await([]byte(`{"type":"welcome"`)); err != nil {
		return err
	}
	if room == "" {
		return nil
	}
	s.write([]byte(`{"type":"subscribe","id":"s","room":"` + room + `"}`))
	_, err := s.await([]byte(`{"type":"ack"`))
	return err
}

func (chat) send(dst []byte, id uint64, room, text string) []byte {
	dst = append(dst, `{"type":"send","id":"`...)
	dst = append(dst, idPrefix...)
	dst = strconv.AppendUint(dst, id, 10)
	dst = append(dst, `","room":"`...)
	dst = append(dst, room...)
	dst = append(dst, `","text":"`...)
	dst = append(dst, text...)
	return append(dst, `"}`...)
}

func (chat) read(payload []byte) (meaning, uint64) {
	switch {
	case bytes.HasPrefix(payload, chatEvent):
		return delivery, 0
	case bytes.HasPrefix(payload, chatAck):
		rest, ok := bytes.CutPrefix(payload[len(chatAck):], []byte(idPrefix))
		if !ok {
			return other, 0
		}
		return acknowledged, digits(rest)
	case bytes.HasPrefix(payload, chatError):
		return refused, 0
	}
	return other, 0
}

func (chat) acks() bool { return true }

func (chat) pulse(id uint64) []byte {
	return []byte(`{"type":"ping","id":"p` + strconv.FormatUint(id, 10) + `"}`)
}

// socketIO is Engine.IO 4 with Socket.IO 5 packets, over WebSocket from the start.
type socketIO struct{}

func (socketIO) path(string) string  { return "/socket.io/?EIO=4&transport=websocket" }
func (socketIO) subprotocol() string { return "" }

func (socketIO) enter(s *socket, token, room string) error {
	if _, err := s.await([]byte("0")); err != nil {
		return err
	}
	s.write([]byte(`40{"token":"` + token + `"}`))
	if _, err := s.await([]byte("40")); err != nil {
		return err
	}
	if room == "" {
		return nil
	}
	s.write([]byte(`420["join","` + room + `"]`))
	_, err := s.await([]byte("430"))
	return err
}

func (socketIO) send(dst []byte, id uint64, room, text string) []byte {
	dst = append(dst, "42"...)
	dst = strconv.AppendUint(dst, id, 10)
	dst = append(dst, `["send",{"room":"`...)
	dst = append(dst, room...)
	dst = append(dst, `","text":"`...)
	dst = append(dst, text...)
	return append(dst, `"}]`...)
}

func (socketIO) read(payload []byte) (meaning, uint64) {
	switch {
	case bytes.HasPrefix(payload, []byte("42")):
		return delivery, 0
	case bytes.HasPrefix(payload, []byte("43")):
		return acknowledged, digits(payload[2:])
	case bytes.HasPrefix(payload, []byte("44")):
		return refused, 0
	case len(payload) == 1 && payload[0] == '2':
		return alive, 0
	}
	return other, 0
}

func (socketIO) acks() bool { return true }

func (socketIO) pulse(uint64) []byte { return []byte("3") }

// plain is a first frame {token, room} answered by "ok"; then every frame is a message.
type plain struct{}

func (plain) path(string) string  { return "/ws" }
func (plain) subprotocol() string { return "" }

func (plain) enter(s *socket, token, room string) error {
	s.write([]byte(`{"token":"` + token + `","room":"` + room + `"}`))
	_, err := s.await([]byte("ok"))
	return err
}

func (plain) send(dst []byte, _ uint64, _, text string) []byte {
	dst = append(dst, `{"text":"`...)
	dst = append(dst, text...)
	return append(dst, `"}`...)
}

func (plain) read([]byte) (meaning, uint64) { return delivery, 0 }
func (plain) acks() bool                    { return false }
func (plain) pulse(uint64) []byte           { return nil }

func digits(text []byte) uint64 {
	var number uint64
	for _, octet := range text {
		if octet < '0' || octet > '9' {
			break
		}
		number = number*10 + uint64(octet-'0')
	}
	return number
}

// signer makes the tokens that an identity provider would have issued.
type signer struct {
	Secret   string `json:"secret"`
	Issuer   string `json:"issuer"`
	Audience string `json:"audience"`
}

func (s signer) token(user string) string {
	now := time.Now().Unix()
	claims, _ := json.Marshal(map[string]any{
		"sub": user, "name": user, "iss": s.Issuer, "aud": s.Audience, "iat": now, "exp": now + 7200,
	})
	encode := base64.RawURLEncoding.EncodeToString
	body := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(claims)
	mac := hmac.New(sha256.New, []byte(s.Secret))
	mac.Write([]byte(body))
	return body + "." + encode(mac.Sum(nil))
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const enterTimeout = 30 * time.Second

var (
	started  = time.Now()
	idPrefix = fmt.Sprintf("b%x-", started.UnixNano())
	stampAt  = []byte("~t")
	ids      atomic.Uint64
)

// socket is one client. Everything it receives is counted by its group.
type socket struct {
	number  uint64
	room    string
	group   *group
	conn    net.Conn
	buffer  []byte
	filled  int
	taken   int
	sampled bool // its deliveries are timed; of the others they are counted
	mine    []byte

	mutex   sync.Mutex
	scratch []byte
	text    []byte
	sent    map[uint64]int64
}

func nanos() int64 { return int64(time.Since(started)) }

func dial(g *group, number uint64) (*socket, error) {
	source, err := net.ResolveTCPAddr("tcp", g.Sources[int(number)%len(g.Sources)]+":0")
	if err != nil {
		return nil, err
	}
	target := g.Targets[int(number)%len(g.Targets)]
	dialer := net.Dialer{LocalAddr: source, Control: bindLate}
	ctx, cancel := context.WithTimeout(context.Background(), enterTimeout)
	defer cancel()
	conn, err := dialer.DialContext(ctx, "tcp", target)
	if err != nil {
		return nil, err
	}
	s := &socket{number: number, group: g, conn: conn, buffer: make([]byte, g.bufferBytes())}
	s.mine = []byte("~s" + strconv.FormatUint(number, 10) + "~")
	return s, nil
}

// handshake opens the WebSocket (RFC 6455 §4.1) and enters by the dialect.
func (s *socket) handshake(target, token, room string) error {
	if err := s.conn.SetDeadline(time.Now().Add(enterTimeout)); err != nil {
		return err
	}
	request := "GET " + s.group.dialect.path(token) + " HTTP/1.1\r\nHost: " + target +
		"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	if protocol := s.group.dialect.subprotocol(); protocol != "" {
		request += "Sec-WebSocket-Protocol: " + protocol + "\r\n"
	}
	if _, err := s.conn.Write([]byte(request + "\r\n")); err != nil {
		return err
	}
	for {
		if end := bytes.Index(s.buffer[:s.filled], []byte("\r\n\r\n")); end >= 0 {
			if !bytes.HasPrefix(s.buffer, []byte("HTTP/1.1 101")) {
				return fmt.Errorf("handshake refused: %.200q", s.buffer[:s.filled])
			}
			s.taken = end + 4
			break
		}
		if err := s.fill(); err != nil {
			return err
		}
	}
	if err := s.group.dialect.enter(s, token, room); err != nil {
		return err
	}
	s.room = room
	return s.conn.SetDeadline(time.Time{})
}

// fill reads once, after making room.
func (s *socket) fill() error {
	if s.taken > 0 {
		s.filled = copy(s.buffer, s.buffer[s.taken:s.filled])
		s.taken = 0
	}
	if s.filled == len(s.buffer) {
		s.buffer = append(s.buffer, make([]byte, len(s.buffer))...)
	}
	count, err := s.conn.Read(s.buffer[s.filled:])
	s.filled += count
	return err
}

// frame returns the next text frame, valid until the next call; answers pings itself.
func (s *socket) frame() ([]byte, error) {
	for {
		opcode, payload, size, err := nextFrame(s.buffer[s.taken:s.filled])
		if err != nil {
			return nil, err
		}
		if size == 0 {
			if err := s.fill(); err != nil {
				return nil, err
			}
			continue
		}
		s.taken += size
		switch opcode {
		case opText:
			return payload, nil
		case opPing:
			s.control(opPong, payload)
		case opClose:
			return nil, fmt.Errorf("closed by the server: %q", payload)
		}
	}
}

// await drops frames until one begins like this.
func (s *socket) await(prefix []byte) ([]byte, error) {
	for {
		payload, err := s.frame()
		if err != nil {
			return nil, err
		}
		if bytes.HasPrefix(payload, prefix) {
			return payload, nil
		}
		if meaning, _ := s.group.dialect.read(payload); meaning == refused {
			return nil, fmt.Errorf("refused: %.300s", payload)
		}
	}
}

func (s *socket) write(payload []byte) {
	s.control(opText, payload)
}

func (s *socket) control(opcode byte, payload []byte) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.scratch = appendFrame(s.scratch[:0], opcode, payload)
	if _, err := s.conn.Write(s.scratch); err != nil {
		s.group.fail(err)
	}
}

// post sends one message that carries its time and its sender.
func (s *socket) post(size int) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	id := ids.Add(1)
	now := nanos()
	s.text = append(s.text[:0], stampAt...)
	s.text = strconv.AppendInt(s.text, now, 10)
	s.text = append(s.text, s.mine...)
	for len(s.text) < size {
		s.text = append(s.text, "chat about the course "[len(s.text)%22])
	}
	if s.group.dialect.acks() {
		if s.sent == nil {
			s.sent = map[uint64]int64{}
		}
		s.sent[id] = now
	}
	payload := s.group.dialect.send(nil, id, s.room, string(s.text))
	s.scratch = appendFrame(s.scratch[:0], opText, payload)
	s.group.sent.Add(1)
	if _, err := s.conn.Write(s.scratch); err != nil {
		s.group.fail(err)
	}
}

func (s *socket) ackedAfter(id uint64) int64 {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	began, found := s.sent[id]
	delete(s.sent, id)
	if !found {
		return 0
	}
	return nanos() - began
}

// listen counts what arrives until the connection ends.
func (s *socket) listen() {
	for {
		payload, err := s.frame()
		if err != nil {
			if !s.group.closing.Load() && !errors.Is(err, net.ErrClosed) {
				s.group.fail(err)
			}
			return
		}
		meaning, id := s.group.dialect.read(payload)
		switch meaning {
		case delivery:
			s.group.delivered.Add(1)
			s.delivered(payload)
		case acknowledged:
			if after := s.ackedAfter(id); after > 0 {
				s.group.acked.Add(1)
				s.group.acks.add(after)
				s.group.again(s, byAck)
			}
		case refused:
			s.group.refuse(payload)
			s.group.again(s, byAck)
		case alive:
			s.write(s.group.dialect.pulse(0))
		}
	}
}

func (s *socket) delivered(payload []byte) {
	window := s.group.window.Load()
	own := window != nil && window.by == byEcho && bytes.Contains(payload, s.mine)
	if s.sampled || own {
		if at := bytes.Index(payload, stampAt); at >= 0 {
			s.group.latencies.add(nanos() - int64(digits(payload[at+2:])))
		}
	}
	if own {
		s.group.again(s, byEcho)
	}
}

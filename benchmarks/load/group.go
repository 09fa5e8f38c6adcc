package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	byEcho = "echo"
	byAck  = "ack"
	// sampledSockets of a group have their deliveries timed; timing each of a million a second would be the bottleneck.
	sampledSockets = 64
	// reservoir is how many of a period's times are kept.
	reservoir = 1 << 18
)

type window struct {
	by    string
	bytes int
}

// group is sockets that were opened together and are counted together.
type group struct {
	Targets []string `json:"targets"`
	Sources []string `json:"sources"`
	Dialect string   `json:"dialect"`
	Count   int      `json:"count"`
	AtOnce  int      `json:"at_once"`
	Rooms   []string `json:"rooms"` // socket i follows the (i mod n)-th; none: only authenticated
	User    string   `json:"user"`  // socket i is this user followed by i
	Users   int      `json:"users"` // how many users; 0: one for each socket
	Signer  signer   `json:"signer"`
	PulseS  float64  `json:"pulse_s"` // how often each sends what keeps it connected; 0: never

	dialect dialect
	sockets []*socket
	closing atomic.Bool
	ended   chan struct{}
	pacing  chan struct{}
	window  atomic.Pointer[window]

	sent, acked, delivered, refusals, failures atomic.Int64
	latencies, acks                            times
	mutex                                      sync.Mutex
	problem                                    string
}

func (g *group) bufferBytes() int {
	if g.Count <= 1000 {
		return 64 << 10
	}
	return 2 << 10
}

func (g *group) fail(err error) {
	if g.closing.Load() {
		return
	}
	g.failures.Add(1)
	g.note(err.Error())
}

func (g *group) refuse(payload []byte) {
	g.refusals.Add(1)
	g.note(string(payload))
}

func (g *group) note(problem string) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if g.problem == "" {
		g.problem = problem
	}
}

type opened struct {
	Opened  int     `json:"opened"`
	Seconds float64 `json:"seconds"`
	P50     float64 `json:"p50_ms"`
	P99     float64 `json:"p99_ms"`
}

// open connects all sockets, so many at once, each until it is ready; the first failure ends it.
func (g *group) open() (opened, error) {
	var err error
	if g.dialect, err = dialectOf(g.Dialect); err != nil {
		return opened{}, err
	}
	if len(g.Sources) == 0 {
		g.Sources = []string{"127.0.0.1"}
	}
	g.ended = make(chan struct{})
	g.sockets = make([]*socket, g.Count)
	tokens := make([]string, g.Count)
	for i := range tokens {
		number := i
		if g.Users > 0 {
			number = i % g.Users
		}
		tokens[i] = g.Signer.token(fmt.Sprintf("%s%d", g.User, number))
	}
	var next atomic.Int64
	var wait sync.WaitGroup
	var first atomic.Pointer[error]
	var took times
	began := time.Now()
	for range g.AtOnce {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for first.Load() == nil {
				i := int(next.Add(1)) - 1
				if i >= g.Count {
					return
				}
				since := time.Now()
				if err := g.openOne(i, tokens[i]); err != nil {
					err = fmt.Errorf("socket %d: %w", i, err)
					first.CompareAndSwap(nil, &err)
					return
				}
				took.add(int64(time.Since(since)))
			}
		}()
	}
	wait.Wait()
	seconds := time.Since(began).Seconds()
	if failed := first.Load(); failed != nil {
		return opened{}, *failed
	}
	every := max(1, g.Count/sampledSockets)
	for i, s := range g.sockets {
		s.sampled = i%every == 0
		go s.listen()
	}
	if g.PulseS > 0 {
		go g.beat()
	}
	p50, p99 := took.take()
	return opened{g.Count, seconds, p50, p99}, nil
}

func (g *group) openOne(i int, token string) error {
	s, err := dial(g, uint64(i))
	if err != nil {
		return err
	}
	g.sockets[i] = s
	room := ""
	if len(g.Rooms) > 0 {
		room = g.Rooms[i%len(g.Rooms)]
	}
	return s.handshake(g.Targets[i%len(g.Targets)], token, room)
}

// beat keeps all sockets connected, spread evenly over the period.
func (g *group) beat() {
	pause := time.Duration(g.PulseS * float64(time.Second) / float64(len(g.sockets)))
	ticker := time.NewTicker(max(pause, time.Millisecond))
	defer ticker.Stop()
	began, done := time.Now(), 0
	for {
		select {
		case <-g.ended:
			return
		case <-ticker.C:
		}
		for due := int(time.Since(began) / pause); done < due; done++ {
			g.sockets[done%len(g.sockets)].write(g.dialect.pulse(uint64(done)))
		}
	}
}

type traffic struct {
	Senders int     `json:"senders"`
	Bytes   int     `json:"bytes"`
	Rate    float64 `json:"rate"`   // messages a second of all senders together
	Window  int     `json:"window"` // instead: so many of each sender are under way
	By      string  `json:"by"`     // what frees a place in the window: echo or ack
}

// begin sends until quiet.
func (g *group) begin(t traffic) error {
	if t.Senders < 1 || t.Senders > len(g.sockets) {
		return fmt.Errorf("%d senders of %d sockets", t.Senders, len(g.sockets))
	}
	g.quiet()
	if t.Rate > 0 {
		g.pacing = make(chan struct{})
		go g.pace(t, g.pacing)
		return nil
	}
	if t.By != byEcho && t.By != byAck {
		return errors.New("a window is freed by echo or ack")
	}
	g.window.Store(&window{t.By, t.Bytes})
	for _, s := range g.sockets[:t.Senders] {
		for range t.Window {
			s.post(t.Bytes)
		}
	}
	return nil
}

// quiet sends nothing more; what is under way still arrives.
func (g *group) quiet() {
	g.window.Store(nil)
	if g.pacing != nil {
		close(g.pacing)
		g.pacing = nil
	}
}

func (g *group) again(s *socket, by string) {
	if window := g.window.Load(); window != nil && window.by == by {
		s.post(window.bytes)
	}
}

func (g *group) pace(t traffic, stop chan struct{}) {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	began, done := time.Now(), 0
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		for due := int(time.Since(began).Seconds() * t.Rate); done < due; done++ {
			g.sockets[done%t.Senders].post(t.Bytes)
		}
	}
}

type counted struct {
	Sent      int64   `json:"sent"`
	Acked     int64   `json:"acked"`
	Delivered int64   `json:"delivered"`
	Refused   int64   `json:"refused"`
	Failed    int64   `json:"failed"`
	Problem   string  `json:"problem"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	AckP50    float64 `json:"ack_p50_ms"`
	AckP99    float64 `json:"ack_p99_ms"`
}

// mark returns what was counted since the last mark.
func (g *group) mark() counted {
	c := counted{
		Sent: g.sent.Swap(0), Acked: g.acked.Swap(0), Delivered: g.delivered.Swap(0),
		Refused: g.refusals.Swap(0), Failed: g.failures.Swap(0),
	}
	c.P50, c.P99 = g.latencies.take()
	c.AckP50, c.AckP99 = g.acks.take()
	g.mutex.Lock()
	defer g.mutex.Unlock()
	c.Problem, g.problem = g.problem, ""
	return c
}

func (g *group) close() {
	g.quiet()
	g.closing.Store(true)
	close(g.ended)
	for _, s := range g.sockets {
		if s != nil {
			s.conn.Close()
		}
	}
}

// times is a reservoir of durations in nanoseconds.
type times struct {
	mutex  sync.Mutex
	values []int64
	seen   int64
}

func (t *times) add(value int64) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.seen++
	if len(t.values) < reservoir {
		t.values = append(t.values, value)
	} else if at := rand.Int64N(t.seen); at < reservoir {
		t.values[at] = value
	}
}

// take returns the 50th and 99th percentile in milliseconds and begins anew.
func (t *times) take() (p50, p99 float64) {
	t.mutex.Lock()
	values := t.values
	t.values, t.seen = nil, 0
	t.mutex.Unlock()
	if len(values) == 0 {
		return 0, 0
	}
	slices.Sort(values)
	at := func(share float64) float64 { return float64(values[int(share*float64(len(values)-1))]) / 1e6 }
	return at(0.50), at(0.99)
}

// Load is a crowd of WebSocket clients that a benchmark steers: one JSON command a line on its standard input, one
// JSON answer a line on its standard output. It ends with its input.
//
//	{"do": "open", "group": NAME, "open": {…}}      connect sockets, all authenticated and subscribed → opened
//	{"do": "begin", "group": NAME, "traffic": {…}}  send messages until told to be quiet
//	{"do": "mark"}                                  what was counted since the last mark, by group, and its own CPU
//	{"do": "quiet", "group": NAME}
//	{"do": "close", "group": NAME}
//
// Deliveries are timed from the moment of sending, which the message carries, by this process's one clock.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
)

type command struct {
	Do      string  `json:"do"`
	Group   string  `json:"group"`
	Open    *group  `json:"open"`
	Traffic traffic `json:"traffic"`
}

type marked struct {
	Seconds float64            `json:"seconds"`
	CPU     float64            `json:"cpu_s"`
	Groups  map[string]counted `json:"groups"`
}

type crowd struct {
	groups map[string]*group
	since  time.Time
	cpu    float64
}

func (c *crowd) do(it command) (any, error) {
	if it.Do == "mark" {
		return c.mark(), nil
	}
	if it.Do == "open" {
		if it.Open == nil || it.Open.Count < 1 || it.Open.AtOnce < 1 || len(it.Open.Targets) == 0 {
			return nil, fmt.Errorf("open needs targets, count and at_once")
		}
		c.groups[it.Group] = it.Open
		return it.Open.open()
	}
	g, found := c.groups[it.Group]
	if !found {
		return nil, fmt.Errorf("no group %q", it.Group)
	}
	switch it.Do {
	case "begin":
		return struct{}{}, g.begin(it.Traffic)
	case "quiet":
		g.quiet()
	case "close":
		g.close()
		delete(c.groups, it.Group)
	default:
		return nil, fmt.Errorf("cannot do %q", it.Do)
	}
	return struct{}{}, nil
}

func (c *crowd) mark() marked {
	now, cpu := time.Now(), cpuSeconds()
	m := marked{now.Sub(c.since).Seconds(), cpu - c.cpu, map[string]counted{}}
	for name, g := range c.groups {
		m.Groups[name] = g.mark()
	}
	c.since, c.cpu = now, cpu
	return m
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

func main() {
	// One processor is plenty (its share is reported), and threads that wake each other would take the server's.
	runtime.GOMAXPROCS(1)
	c := &crowd{groups: map[string]*group{}, since: time.Now()}
	input := bufio.NewScanner(os.Stdin)
	input.Buffer(nil, 16<<20)
	answers := json.NewEncoder(os.Stdout)
	for input.Scan() {
		var it command
		answer, err := any(nil), json.Unmarshal(input.Bytes(), &it)
		if err == nil {
			answer, err = c.do(it)
		}
		if err != nil {
			answer = map[string]string{"error": err.Error()}
		}
		if err := answers.Encode(answer); err != nil {
			return
		}
	}
}

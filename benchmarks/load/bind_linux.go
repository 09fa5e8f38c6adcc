package main

import "syscall"

const ipBindAddressNoPort = 24

// bindLate lets the kernel choose the port at connect, so that one source address serves many targets.
func bindLate(_, _ string, raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, ipBindAddressNoPort, 1)
	})
	if err != nil {
		return err
	}
	return failed
}

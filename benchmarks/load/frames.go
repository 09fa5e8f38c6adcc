package main

import (
	"encoding/binary"
	"errors"
)

const (
	opText  = 0x1
	opClose = 0x8
	opPing  = 0x9
	opPong  = 0xA
)

var errTooLong = errors.New("frame of more than 16 MiB")

// appendFrame adds one masked frame (RFC 6455 §5.2) to dst.
func appendFrame(dst []byte, opcode byte, payload []byte) []byte {
	size := len(payload)
	dst = append(dst, 0x80|opcode)
	switch {
	case size < 126:
		dst = append(dst, 0x80|byte(size))
	case size < 1<<16:
		dst = append(dst, 0x80|126)
		dst = binary.BigEndian.AppendUint16(dst, uint16(size))
	default:
		dst = append(dst, 0x80|127)
		dst = binary.BigEndian.AppendUint64(dst, uint64(size))
	}
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	dst = append(dst, key[:]...)
	for i, octet := range payload {
		dst = append(dst, octet^key[i&3])
	}
	return dst
}

// nextFrame returns the first frame of data and its size; size 0 means that more bytes are needed.
func nextFrame(data []byte) (opcode byte, payload []byte, size int, err error) {
	if len(data) < 2 {
		return 0, nil, 0, nil
	}
	header, length := 2, uint64(data[1]&0x7F)
	switch length {
	case 126:
		if len(data) < 4 {
			return 0, nil, 0, nil
		}
		header, length = 4, uint64(binary.BigEndian.Uint16(data[2:]))
	case 127:
		if len(data) < 10 {
			return 0, nil, 0, nil
		}
		header, length = 10, binary.BigEndian.Uint64(data[2:])
	}
	if length > 16<<20 {
		return 0, nil, 0, errTooLong
	}
	size = header + int(length)
	if len(data) < size {
		return 0, nil, 0, nil
	}
	return data[0] & 0x0F, data[header:size], size, nil
}

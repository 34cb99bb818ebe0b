//go:build unix

package lifeguard

import (
	"errors"
	"syscall"
)

const canPeek = true

// peekSocket looks for one byte without taking it and without waiting.
func peekSocket(fd uintptr) socketState {
	var b [1]byte
	for {
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			return socketQuiet
		case err != nil || n == 0:
			return socketEnded
		}
		return socketReadable
	}
}

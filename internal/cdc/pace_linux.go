package cdc

import "syscall"

// wakeFrom has so many bytes wake the reader, and reports whether that can be had.
func (p *pace) wakeFrom(bytes int) bool {
	var refused error
	err := p.raw.Control(func(fd uintptr) {
		refused = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, bytes)
	})
	return err == nil && refused == nil
}

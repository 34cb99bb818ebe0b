//go:build !linux

package cdc

// wakeFrom is for systems whose poller can be told how much is worth waking up for.
func (*pace) wakeFrom(int) bool { return false }

//go:build !linux

package pgtest

// memoryDir: only Linux has a folder in memory that is always there.
func memoryDir() string { return "" }

//go:build !go1.27

package lifeguard_test

var rowsMethodsOfThisGo []string

// Package supply has tests of what Lifeguard is made of: that each go.mod lists what its
// module needs and no more, that the licences of everything a user's program links are
// known, allowed and listed in docs/licences.md, and that the command can be installed from
// a module proxy into an empty module cache.
package supply

// Package cacheproof holds tests that try to make the query cache lie. It exports nothing.
//
//   - linear: reads, writes and joins from many goroutines, through a network that loses and
//     delays answers, judged by a linearizability checker;
//   - differential: many statements, with the cache and without it, between writes;
//   - mutants: the product with a mistake in it, which the above must find.
//
// What each costs and how it is made longer stands in the Makefile, at prove.
package cacheproof

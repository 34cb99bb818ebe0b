package doctest

import "math"

// mmc is a queue with several servers, arrivals and service times at random (M/M/c): what a pool
// is as long as its connections do not slow each other down.
type mmc struct {
	arrivals float64 // per second
	service  float64 // seconds each
	servers  int
}

// utilisation is the share of the servers that is busy on average: Little's law, by servers.
func (q mmc) utilisation() float64 { return q.arrivals * q.service / float64(q.servers) }

// waiting is the probability that an arrival has to wait: Erlang's C, by the recursion of his B,
// which overflows for no number of servers.
func (q mmc) waiting() float64 {
	load, b := q.arrivals*q.service, 1.0
	for n := 1; n <= q.servers; n++ {
		b = load * b / (float64(n) + load*b)
	}
	return b / (1 - q.utilisation()*(1-b))
}

// drain is by how many the queue would shrink in a second, if nobody came any more than does.
func (q mmc) drain() float64 { return float64(q.servers)/q.service - q.arrivals }

// wait is the mean wait in seconds, of those who do not wait too.
func (q mmc) wait() float64 { return q.waiting() / q.drain() }

// waitOf is the wait in seconds that a share of all, such as 0.99, does not exceed.
func (q mmc) waitOf(share float64) float64 {
	return max(0, math.Log(q.waiting()/(1-share))/q.drain())
}

// queue is how many wait on average: Little's law again.
func (q mmc) queue() float64 { return q.arrivals * q.wait() }

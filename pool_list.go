package lifeguard

// physicalList is a doubly linked list through physical's own fields: O(1) removal from the
// middle, no allocation. The back is the most recently used.
type physicalList struct {
	front, back *physical
	size        int
}

func (l *physicalList) pushBack(ph *physical, at place) {
	ph.place = at
	ph.prev, ph.next = l.back, nil
	if l.back == nil {
		l.front = ph
	} else {
		l.back.next = ph
	}
	l.back = ph
	l.size++
}

func (l *physicalList) popBack() *physical { return l.remove(l.back) }

func (l *physicalList) popFront() *physical { return l.remove(l.front) }

// remove unlinks ph, which may be nil, and returns it.
func (l *physicalList) remove(ph *physical) *physical {
	if ph == nil {
		return nil
	}
	if ph.prev == nil {
		l.front = ph.next
	} else {
		ph.prev.next = ph.next
	}
	if ph.next == nil {
		l.back = ph.prev
	} else {
		ph.next.prev = ph.prev
	}
	ph.prev, ph.next, ph.place = nil, nil, placeNone
	l.size--
	return ph
}

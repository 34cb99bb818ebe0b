package catalog

// closing returns where the bracket that opens at i is closed; if nowhere, the end.
func (s *scan) closing(i int) int {
	if j := s.partner[i]; j >= 0 {
		return j
	}
	return len(s.toks)
}

// opening returns where the bracket that closes at i is opened, or -1.
func (s *scan) opening(i int) int { return s.partner[i] }

// pair finds each bracket's partner, once for all: looking for it from every cast
// would take quadratic time.
func (s *scan) pair() {
	s.partner = make([]int, len(s.toks))
	var open []int
	for i, t := range s.toks {
		s.partner[i] = -1
		switch {
		case t.is("("), t.is("["):
			open = append(open, i)
		case (t.is(")") || t.is("]")) && len(open) > 0:
			last := open[len(open)-1]
			open = open[:len(open)-1]
			s.partner[i], s.partner[last] = last, i
		}
	}
}

// paired reports whether each bracket has its partner.
func (s *scan) paired() bool {
	for i, t := range s.toks {
		if s.partner[i] < 0 && (t.is("(") || t.is("[") || t.is(")") || t.is("]")) {
			return false
		}
	}
	return true
}

// hasComma reports whether there is a comma between start and end that is in no
// further brackets.
func (s *scan) hasComma(start, end int) bool {
	for i := start; i < end; i++ {
		switch t := s.at(i); {
		case t.is(","):
			return true
		case t.is("("), t.is("["):
			i = s.closing(i)
		}
	}
	return false
}

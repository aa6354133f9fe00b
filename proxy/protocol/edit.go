package protocol

import "strconv"

// A Splice replaces body[Start:End] by Text, or by the quoted Name, or by Number
// after Text. Splices are what AppendRequest of the formats is made of.
type Splice struct {
	Start, End int
	Text       string // literal
	Quoted     string // appended as a JSON string, after Text
	Number     int64  // appended in decimal, after Text, if not 0
	Tail       string // literal, at the end
}

// AppendSplices appends body to dst with the splices applied. It sorts them by
// place; those of one place stay in order.
func AppendSplices(dst, body []byte, list []Splice) []byte {
	for i := 1; i < len(list); i++ {
		for j := i; j > 0 && list[j].Start < list[j-1].Start; j-- {
			list[j], list[j-1] = list[j-1], list[j]
		}
	}
	pos := 0
	for i := range list {
		x := &list[i]
		dst = append(dst, body[pos:x.Start]...)
		dst = append(dst, x.Text...)
		if x.Quoted != "" {
			dst = AppendString(dst, x.Quoted)
		}
		if x.Number != 0 {
			dst = strconv.AppendInt(dst, x.Number, 10)
		}
		dst = append(dst, x.Tail...)
		pos = x.End
	}
	return append(dst, body[pos:]...)
}

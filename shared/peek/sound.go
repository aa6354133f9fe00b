package peek

import (
	"bytes"
	"encoding/binary"
	"math"
)

// What is taken for the length of compressed sound whose frames are not read, in bytes per
// second: no codec that speech services take spends less than leastRate on speech, and
// usualRate is what recordings of speech have.
const (
	leastRate = 750
	usualRate = 4_000
)

// Sound tells how long the sound in a file lasts, in seconds, rounded up: bound is the most
// it can last, guess what it is charged for if its provider does not say. ok is false for a
// file whose format is not known: then nothing bounds it.
//
// WAV, MP3, ADTS and FLAC are measured by their own samples and frames. Of Ogg, MP4 and WebM
// only what they say themselves is read, which may be anything: it is a guess, and their size
// the bound.
func Sound(file []byte) (bound, guess int64, ok bool) {
	switch {
	case len(file) >= 12 && (string(file[:4]) == "RIFF" || string(file[:4]) == "RF64") && string(file[8:12]) == "WAVE":
		bound, guess, ok = wave(file)
		return bound, min(guess, bound), ok
	case len(file) >= 42 && string(file[:4]) == "fLaC":
		bound, guess, ok = flac(file)
		return bound, min(guess, bound), ok
	case bytes.HasPrefix(file, []byte("ID3")) || len(file) > 3 && file[0] == 0xff && file[1]&0xe0 == 0xe0:
		bound = frames(file)
		return bound, bound, true
	case bytes.HasPrefix(file, []byte("OggS")):
		guess = ogg(file)
	case len(file) >= 12 && string(file[4:8]) == "ftyp":
		guess = mp4(file)
	case bytes.HasPrefix(file, []byte("\x1a\x45\xdf\xa3")):
		guess = webm(file)
	case bytes.HasPrefix(file, []byte("#!AMR")):
	default:
		return 0, 0, false
	}
	bound = over(int64(len(file)), leastRate)
	if guess <= 0 {
		guess = over(int64(len(file)), usualRate)
	}
	return bound, min(guess, bound), true
}

// over is n/d rounded up, at least 1.
func over(n, d int64) int64 { return max(1, (n+d-1)/d) }

// wave measures the samples; compressed ones by their size.
func wave(file []byte) (bound, guess int64, ok bool) {
	var perSecond int64
	for i := 12; i+8 <= len(file); {
		size := int64(binary.LittleEndian.Uint32(file[i+4:]))
		data := file[i+8:]
		switch string(file[i : i+4]) {
		case "fmt ":
			if len(data) < 16 {
				return 0, 0, false
			}
			switch binary.LittleEndian.Uint16(data) {
			case 1, 3, 6, 7, 0xfffe: // samples as they are
				perSecond = int64(binary.LittleEndian.Uint32(data[4:])) * int64(binary.LittleEndian.Uint16(data[12:]))
			default:
				n := int64(len(file))
				return over(n, leastRate), over(n, max(leastRate, int64(binary.LittleEndian.Uint32(data[8:])))), true
			}
		case "data":
			if perSecond <= 0 {
				return 0, 0, false
			}
			// Writers of streams say any size: what is there counts.
			bound = over(int64(len(data)), perSecond)
			return bound, over(min(size, int64(len(data))), perSecond), true
		}
		if size += size & 1; size > int64(len(data)) {
			break
		}
		i += 8 + int(size)
	}
	return 0, 0, false
}

// flac reads the stream's own head: samples and their rate. No sound is shorter than its
// samples would be without compression.
func flac(file []byte) (bound, guess int64, ok bool) {
	info := file[8:]
	rate := int64(info[10])<<12 | int64(info[11])<<4 | int64(info[12])>>4
	if rate == 0 {
		return 0, 0, false
	}
	channels := int64(info[12]>>1&7) + 1
	bits := (int64(info[12]&1)<<4 | int64(info[13])>>4) + 1
	samples := int64(info[13]&15)<<32 | int64(binary.BigEndian.Uint32(info[14:]))
	least := over(int64(len(file))*8, rate*channels*bits)
	if samples == 0 { // not known when it was written: half its size is usual
		return over(int64(len(file)), leastRate), 2 * least, true
	}
	guess = max(least, over(samples, rate))
	return guess, guess, true
}

// What an MPEG frame's head says, by version (2.5, -, 2, 1) and layer (-, 3, 2, 1).
var (
	mpegRates = [4]int64{11_025, 0, 22_050, 44_100}
	kilobits  = [5][16]int64{
		{0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448}, // 1, layer 1
		{0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384},    // 1, layer 2
		{0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320},     // 1, layer 3
		{0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256},    // 2, layer 1
		{0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160},         // 2, layers 2 and 3
	}
	adtsRates = [16]int64{96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350}
)

// frame reads the head of a frame of MP3 or ADTS: its bytes, and how long it lasts in
// microseconds; 0 if there is none.
func frame(b []byte) (size, micros int64) {
	if len(b) < 7 || b[0] != 0xff || b[1]&0xe0 != 0xe0 {
		return 0, 0
	}
	version, layer := b[1]>>3&3, b[1]>>1&3
	if layer == 0 { // ADTS
		rate := adtsRates[b[2]>>2&15]
		size = int64(b[3]&3)<<11 | int64(b[4])<<3 | int64(b[5])>>5
		if b[1]&0xf0 != 0xf0 || rate == 0 || size < 7 {
			return 0, 0
		}
		return size, (int64(b[6]&3) + 1) * 1024 * 1_000_000 / rate
	}
	rate := mpegRates[version]
	switch b[2] >> 2 & 3 {
	case 1:
		rate = rate * 160 / 147 // 48,000 of 44,100
	case 2:
		rate = rate * 320 / 441
	case 3:
		return 0, 0
	}
	if rate == 0 {
		return 0, 0
	}
	samples, row := int64(1152), 0
	switch {
	case layer == 3:
		samples = 384
		if version != 3 {
			row = 3
		}
	case version == 3:
		row = int(3 - layer)
	default:
		row = 4
		if layer == 1 {
			samples = 576
		}
	}
	rateKB := kilobits[row][b[2]>>4]
	if rateKB == 0 {
		return 0, 0 // a free rate: nobody writes it
	}
	size = samples / 8 * rateKB * 1000 / rate
	padding := int64(b[2] >> 1 & 1)
	if layer == 3 {
		size, padding = size/4*4, 4*padding
	}
	return size + padding, samples * 1_000_000 / rate
}

// frames adds up the frames of MP3 or ADTS. What is none counts as the thinnest sound.
func frames(file []byte) int64 {
	i := 0
	if len(file) > 10 && string(file[:3]) == "ID3" {
		i = 10 + int(file[6]&127)<<21 + int(file[7]&127)<<14 + int(file[8]&127)<<7 + int(file[9]&127)
		i = min(i, len(file))
	}
	var micros, odd int64
	for i < len(file) {
		size, lasts := frame(file[i:])
		if size == 0 {
			i++
			odd++
			continue
		}
		i += int(size)
		micros += lasts
	}
	return over(micros+odd*1_000_000/leastRate, 1_000_000)
}

// ogg reads what the last page says of its place in the sound.
func ogg(file []byte) int64 {
	last := bytes.LastIndex(file, []byte("OggS"))
	if last+14 > len(file) {
		return 0
	}
	place := int64(binary.LittleEndian.Uint64(file[last+6:]))
	head := file[:min(len(file), 256)]
	rate := int64(0)
	if i := bytes.Index(head, []byte("\x01vorbis")); i >= 0 && i+16 <= len(head) {
		rate = int64(binary.LittleEndian.Uint32(head[i+12:]))
	} else if bytes.Contains(head, []byte("OpusHead")) {
		rate = 48_000
	}
	if rate <= 0 || place <= 0 || place > math.MaxInt64-rate {
		return 0
	}
	return over(place, rate)
}

// mp4 reads what the movie's head says.
func mp4(file []byte) int64 {
	for i, in := int64(0), false; i+8 <= int64(len(file)); {
		size, kind := int64(binary.BigEndian.Uint32(file[i:])), string(file[i+4:i+8])
		if size == 1 && i+16 <= int64(len(file)) {
			size = int64(min(binary.BigEndian.Uint64(file[i+8:]), math.MaxInt32))
		}
		switch {
		case kind == "moov" && !in:
			i, in = i+8, true
			continue
		case kind == "mvhd" && in && i+40 <= int64(len(file)):
			b := file[i+8:]
			scale, length := uint64(binary.BigEndian.Uint32(b[12:])), uint64(binary.BigEndian.Uint32(b[16:]))
			if b[0] == 1 {
				scale, length = uint64(binary.BigEndian.Uint32(b[20:])), binary.BigEndian.Uint64(b[24:])
			}
			if scale == 0 || length == 0 || length > math.MaxInt32*scale {
				return 0
			}
			return over(int64(length), int64(scale))
		}
		if size < 8 {
			return 0
		}
		i += size
	}
	return 0
}

// webm reads what the segment's information says, near its start.
func webm(file []byte) int64 {
	head := file[:min(len(file), 64<<10)]
	i := bytes.Index(head, []byte("\x15\x49\xa9\x66"))
	if i < 0 {
		return 0
	}
	head = head[i:]
	head = head[:min(len(head), 512)]
	scale := 1e6 // nanoseconds
	if i := bytes.Index(head, []byte("\x2a\xd7\xb1\x83")); i >= 0 && i+7 <= len(head) {
		scale = float64(uint32(head[i+4])<<16 | uint32(head[i+5])<<8 | uint32(head[i+6]))
	}
	length := 0.0
	if i := bytes.Index(head, []byte("\x44\x89\x88")); i >= 0 && i+11 <= len(head) {
		length = math.Float64frombits(binary.BigEndian.Uint64(head[i+3:]))
	} else if i := bytes.Index(head, []byte("\x44\x89\x84")); i >= 0 && i+7 <= len(head) {
		length = float64(math.Float32frombits(binary.BigEndian.Uint32(head[i+3:])))
	}
	seconds := math.Ceil(length * scale / 1e9)
	if !(seconds > 0 && seconds < math.MaxInt32) {
		return 0
	}
	return int64(seconds)
}

package backup

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tuco/strictjson"
)

const (
	objectFormat  = "tuco backup"
	keysFormat    = "tuco keys"
	formatVersion = 1
)

const (
	maxFirstLine   = 64
	maxHeaderBytes = 1 << 20
)

// encodeHeader returns three lines: the format, v as JSON, and the SHA-256 of the lines before it.
func encodeHeader(format string, v any) ([]byte, error) {
	text, err := canonicalJSON(v)
	if err != nil {
		return nil, err
	}
	h := fmt.Appendf(nil, "%s v%d\n%s\n", format, formatVersion, text)
	if len(h) > maxHeaderBytes {
		return nil, invalid("the manifest has %d bytes, more than %d", len(h), maxHeaderBytes)
	}
	return appendSum(h), nil
}

func appendSum(lines []byte) []byte { return fmt.Appendf(lines, "%x\n", sha256.Sum256(lines)) }

// readHeader reads what encodeHeader wrote into v, and nothing else. It returns its size in bytes.
//
// Errors: [ErrDamaged], [ErrNewer], those of r.
func readHeader(r *bufio.Reader, format string, v any) (size int, err error) {
	first, err := readLine(r, maxFirstLine, "the first line")
	if err != nil {
		return 0, err
	}
	number, ok := strings.CutPrefix(strings.TrimSuffix(string(first), "\n"), format+" v")
	version, err := strconv.ParseUint(number, 10, 31)
	switch {
	case !ok || err != nil || version == 0 || strconv.FormatUint(version, 10) != number:
		return 0, damaged("the first line is not that of a %s", format)
	case version > formatVersion:
		return 0, fmt.Errorf("%w: it has version %d of the format, this program reads up to %d", ErrNewer, version, formatVersion)
	}
	text, err := readLine(r, maxHeaderBytes, "the manifest")
	if err != nil {
		return 0, err
	}
	sum, err := readLine(r, hex.EncodedLen(sha256.Size)+1, "the manifest's SHA-256")
	if err != nil {
		return 0, err
	}
	header := bytes.Join([][]byte{first, text}, nil)
	size = len(header) + len(sum)
	if header = appendSum(header); !bytes.HasSuffix(header, sum) || len(header) != size {
		return 0, damaged("the first two lines, %d bytes, do not have the SHA-256 in the third", len(first)+len(text))
	}
	text = text[:len(text)-1]
	if err := strictjson.Unmarshal(text, v, strictjson.RejectUnknown); err != nil {
		return 0, damaged("the manifest: %w", err)
	}
	if again, err := canonicalJSON(v); err != nil || !bytes.Equal(again, text) {
		return 0, damaged("the manifest is not the one encoding of what it says")
	}
	return size, nil
}

// readLine returns the next line with its end.
func readLine(r *bufio.Reader, maxBytes int, what string) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxBytes:
			return nil, damaged("%s is longer than %d bytes", what, maxBytes)
		case err == nil:
			return line, nil
		case err == io.EOF:
			return nil, damaged("it ends in %s", what)
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// canonicalJSON returns the one encoding of v, that of RFC 8785. Whole numbers that this can't keep are refused.
func canonicalJSON(v any) ([]byte, error) {
	exact, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	text := jsontext.Value(bytes.Clone(exact))
	if err := text.Canonicalize(); err != nil {
		return nil, err
	}
	if err := (*jsontext.Value)(&exact).Canonicalize(jsontext.CanonicalizeRawInts(false)); err != nil {
		return nil, err
	}
	if !bytes.Equal(exact, text) {
		return nil, invalid("a whole number in the manifest is larger than 2^53")
	}
	return text, nil
}

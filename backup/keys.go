package backup

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// maxKeysBytes bounds an export of keys. A key has some hundred bytes.
const maxKeysBytes = 4 << 20

type keysManifest struct {
	Files []File `json:"files"`
}

// ExportKeys writes the key files of dir to w: one age file, armored. Temporary files, which begin with a dot, are left out.
//
// Errors: [ErrInvalid] if enc is plain, or dir has no keys or something else; those of dir and w.
func ExportKeys(w io.Writer, dir string, enc Encryption) error {
	kind, to, err := enc.recipients()
	if err == nil && kind == None {
		err = invalid("keys are exported only encrypted")
	}
	if err != nil {
		return err
	}
	inputs, err := keyFiles(dir)
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	files, err := writeTar(context.Background(), &archive, inputs)
	if err == nil {
		if err = checkFiles(files); err != nil {
			err = invalid("%s: %w", dir, err)
		}
	}
	if err != nil {
		return err
	}
	header, err := encodeHeader(keysFormat, keysManifest{files})
	if err != nil {
		return err
	}
	if len(header)+archive.Len() > maxKeysBytes/2 { // armor makes it a third longer
		return invalid("%s: there are more than keys in it: %d bytes", dir, archive.Len())
	}
	armored := armor.NewWriter(w)
	encrypted, err := age.Encrypt(armored, to...)
	if err != nil {
		return err
	}
	_, err = encrypted.Write(append(header, archive.Bytes()...))
	return errors.Join(err, encrypted.Close(), armored.Close())
}

func keyFiles(dir string) (inputs []Input, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Name()[0] == '.' {
			continue
		}
		path := filepath.Join(dir, e.Name())
		info, err := os.Stat(path) // a key may be a link, as in a mounted secret
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() || info.Size() > maxKeysBytes || !filePattern.MatchString(e.Name()) {
			return nil, invalid("%s is no key file", path)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		inputs = append(inputs, Input{e.Name(), bytes.NewReader(text)})
	}
	if len(inputs) == 0 {
		return nil, invalid("%s has no keys", dir)
	}
	return inputs, nil
}

// ImportKeys writes the key files that [ExportKeys] wrote into dir, which must not exist or be empty: all of them, durably, or
// none.
//
// Errors: [ErrDamaged], [ErrNewer], [ErrKey], [ErrExists], [ErrNoSpace], those of r and dir.
func ImportKeys(r io.Reader, keys Keys, dir string) error {
	text, err := io.ReadAll(io.LimitReader(r, maxKeysBytes+1))
	if err != nil {
		return err
	}
	if len(text) > maxKeysBytes {
		return damaged("an export of keys has at most %d bytes", maxKeysBytes)
	}
	encrypted, err := unarmor(text)
	if err != nil {
		return err
	}
	kind := Recipients
	if header, err := age.ExtractHeader(bytes.NewReader(encrypted)); err != nil {
		return damaged("the encryption: %w", err)
	} else if bytes.Contains(header, []byte("\n-> scrypt ")) {
		kind = Passphrase
	}
	plain, err := keys.decrypt(bytes.NewReader(encrypted), kind, nil)
	if err != nil {
		return err
	}
	text, err = io.ReadAll(plain)
	if err != nil {
		return damaged("the encryption: %w", err)
	}
	content := bufio.NewReader(bytes.NewReader(text))
	var m keysManifest
	if _, err := readHeader(content, keysFormat, &m); err != nil {
		return err
	}
	if err := checkFiles(m.Files); err != nil {
		return damaged("the manifest: %w", err)
	}
	return writeDir(dir, func(partial *os.Root) error {
		ctx := context.Background() // they are small
		return readTar(ctx, content, m.Files, func(f File) (io.Writer, func() error, error) { return createIn(ctx, partial, f.Name, 0) })
	})
}

// unarmor accepts what the armor's writer writes, and nothing that only looks like it.
func unarmor(text []byte) ([]byte, error) {
	inner, err := io.ReadAll(armor.NewReader(bytes.NewReader(text)))
	if err != nil {
		return nil, damaged("the armor: %w", err)
	}
	var again bytes.Buffer
	w := armor.NewWriter(&again)
	_, err = w.Write(inner)
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, fmt.Errorf("checking the armor: %w", err)
	}
	if !bytes.Equal(again.Bytes(), text) {
		return nil, damaged("the armor was changed: spaces or ends of lines are not as they were written")
	}
	return inner, nil
}

package signer

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

const (
	// maxConns bounds the connections of a server. Each gateway keeps a few.
	maxConns = 64
	// frameTime bounds how long the rest of a question, or an answer, may take.
	frameTime = 5 * time.Second
	// idleTime is how long a connection may ask nothing.
	idleTime = 10 * time.Minute
)

// Server signs with a key for all who may open its socket. It signs what a gateway's
// envelopes consist of, and nothing else. The zero Logger is none.
type Server struct {
	Key    keys.Private
	Logger *slog.Logger
}

// Serve answers on a listener until ctx is done. It closes the listener.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	log := s.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	room := make(chan struct{}, maxConns)
	for {
		conn, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // out of descriptors, say
			log.Warn("no connection taken", "err", err)
			core.Sleep(ctx, 100*time.Millisecond)
			continue
		}
		select {
		case room <- struct{}{}:
		default:
			log.Warn("more connections than a signer takes: one was closed", "most", maxConns)
			conn.Close()
			continue
		}
		wg.Go(func() {
			defer func() { <-room }()
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			if err := s.answer(conn, log); err != nil && ctx.Err() == nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				log.Info("connection ended", "err", err)
			}
		})
	}
}

// answer answers one connection.
func (s *Server) answer(conn net.Conn, log *slog.Logger) error {
	_ = conn.SetDeadline(time.Now().Add(frameTime))
	if _, err := fmt.Fprintf(conn, "%s%s\n", greeting, s.Key.Public()); err != nil {
		return err
	}
	for {
		_ = conn.SetDeadline(time.Now().Add(idleTime))
		what, n, err := readHead(conn, maxText)
		if errors.Is(err, errTooLong) {
			_ = conn.SetDeadline(time.Now().Add(frameTime))
			return errors.Join(err, writeFrame(conn, saysNo, []byte(err.Error())))
		}
		if err != nil {
			return err
		}
		_ = conn.SetDeadline(time.Now().Add(frameTime))
		text, err := io.ReadAll(io.LimitReader(conn, int64(n))) // grows with what comes
		if err != nil || len(text) < n {
			return errors.Join(err, io.ErrUnexpectedEOF)
		}
		said, err := s.does(what, text)
		if err != nil {
			log.Warn("refused", "asked", string(what), "bytes", n, "err", err)
			err = writeFrame(conn, saysNo, []byte(err.Error()))
		} else {
			err = writeFrame(conn, saysYes, said)
		}
		if err != nil {
			return err
		}
	}
}

// does is the answer to one question.
func (s *Server) does(what byte, text []byte) ([]byte, error) {
	switch what {
	case askSign:
		if !isCheck(text) {
			if err := envelope.Signable(s.Key.Public(), text, time.Now()); err != nil {
				return nil, err
			}
		}
		return hex.DecodeString(s.Key.Signature(text))
	case askDerive:
		if string(text) != HopMarks {
			return nil, core.Refuse(core.Forbidden, "not a purpose that anything is derived for")
		}
		secret := s.Key.Derive(HopMarks)
		return secret[:], nil
	}
	return nil, core.Refuse(core.Unsupported, "not a question of this version")
}

// isCheck reports whether a text is one of Check.
func isCheck(text []byte) bool {
	return len(text) == checkSize && string(text[:len(checkText)]) == checkText
}

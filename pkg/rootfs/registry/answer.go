package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

const maxAnswer = 1 << 20 // bytes of an error

// check returns the error of an answer whose status is not one of those given,
// and closes its body. The caller closes the body of any other answer.
func check(resp *http.Response, good ...int) error {
	if slices.Contains(good, resp.StatusCode) {
		return nil
	}
	defer resp.Body.Close()
	var body struct{ Errors errcode.Errors }
	_ = json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&body) // without it the status must do
	return &errcode.ErrorResponse{Method: resp.Request.Method, URL: resp.Request.URL, StatusCode: resp.StatusCode, Errors: body.Errors}
}

// Status returns the HTTP status of an error that is an answer of the registry,
// otherwise 0.
func Status(err error) int {
	var answer *errcode.ErrorResponse
	if errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}

// explain adds the object of a request to its error, and gives the error its
// kind. It omits URLs: the target of a redirect may contain a secret.
func explain(object string, err error) error {
	if err == nil {
		return nil
	}
	var answer *errcode.ErrorResponse
	var located *url.Error
	switch {
	case errors.As(err, &answer):
		return explainAnswer(object, answer)
	case errors.Is(err, errdef.ErrNotFound):
		return fmt.Errorf("%s: %w", object, ErrNotFound)
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return fmt.Errorf("%s: %w: there are no credentials for the registry", object, ErrAccess)
	case errors.As(err, &located):
		err = located.Err
	}
	return fmt.Errorf("%s: %w", object, err)
}

func explainAnswer(object string, answer *errcode.ErrorResponse) error {
	text := strings.ToLower(http.StatusText(answer.StatusCode))
	if len(answer.Errors) > 0 {
		text = distinct(answer.Errors).Error()
	}
	err := answerError{fmt.Sprintf("the registry answers %d %s", answer.StatusCode, text), answer}
	switch answer.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%s: %w: %w", object, ErrAccess, err)
	case http.StatusNotFound:
		return fmt.Errorf("%s: %w: %w", object, err, ErrNotFound)
	}
	return fmt.Errorf("%s: %w", object, err)
}

// distinct replaces messages that only repeat the code of their error by the detail.
func distinct(all errcode.Errors) errcode.Errors {
	all = slices.Clone(all)
	for i, e := range all {
		if strings.EqualFold(e.Message, strings.ReplaceAll(e.Code, "_", " ")) {
			all[i].Message, all[i].Detail = "", nil
			if e.Detail != nil {
				all[i].Message = fmt.Sprint(e.Detail)
			}
		}
	}
	return all
}

// An answerError is an answer of a registry with a text for people.
type answerError struct {
	text string
	*errcode.ErrorResponse
}

func (a answerError) Error() string { return a.text }
func (a answerError) Unwrap() error { return a.ErrorResponse }

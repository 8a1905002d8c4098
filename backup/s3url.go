package backup

import (
	"cmp"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

const amazon = "s3.amazonaws.com"

var (
	bucketPattern   = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	hostPattern     = regexp.MustCompile(`^([A-Za-z0-9.-]{1,253}|[0-9A-Fa-f:.]{2,45})$`)
	regionPattern   = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)
	errNoCredential = invalid("there are no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or " +
		"AWS_ACCESS_KEY_ID_FILE and AWS_SECRET_ACCESS_KEY_FILE, or have them in the file that AWS_SHARED_CREDENTIALS_FILE names")
)

// openS3 opens s3://BUCKET[/PREFIX][?endpoint=…&region=…&insecure=1]. No error repeats any of it: people put secrets into URLs.
func openS3(location string) (Target, error) {
	u, err := url.Parse(location)
	if err != nil {
		return nil, invalid("the S3 target is not a URL like s3://bucket/prefix?endpoint=host:port")
	}
	query, err := url.ParseQuery(u.RawQuery)
	switch {
	case u.User != nil:
		return nil, invalid("credentials don't belong into the URL of an S3 target, where others see them; set AWS_ACCESS_KEY_ID_FILE and AWS_SECRET_ACCESS_KEY_FILE")
	case err != nil:
		return nil, invalid("the parameters of the S3 target can't be read")
	case !bucketPattern.MatchString(u.Host):
		return nil, invalid("the S3 target has no valid bucket name behind s3://")
	case u.Fragment != "" || u.Opaque != "":
		return nil, invalid("the S3 target has something behind a #")
	}
	b := &bucket{name: u.Host, prefix: strings.Trim(u.Path, "/"), now: time.Now}
	if b.prefix != "" {
		if checkName(b.prefix) != nil {
			return nil, invalid("the prefix of the S3 target may have letters, digits, -, _ and . and / between parts")
		}
		b.prefix += "/"
	}
	opt := minio.Options{Secure: true, MaxRetries: maxTries}
	endpoint := amazon
	for key, values := range query {
		value := values[0]
		valid := len(values) == 1
		switch key {
		case "endpoint":
			valid = valid && isEndpoint(value)
			endpoint = value
		case "region":
			valid = valid && regionPattern.MatchString(value)
			opt.Region = value
		case "insecure":
			valid = valid && value == "1"
			opt.Secure = false
		default:
			return nil, invalid("the S3 target has a parameter other than endpoint, region and insecure")
		}
		if !valid {
			return nil, invalid("the S3 target: %s must be %s, once", key,
				map[string]string{"endpoint": "HOST or HOST:PORT", "region": "a region's name", "insecure": "1 (HTTP without TLS)"}[key])
		}
	}
	if opt.Creds, err = s3Credentials(endpoint == amazon); err != nil {
		return nil, err
	}
	if b.client, err = minio.New(endpoint, &opt); err != nil {
		return nil, invalid("the endpoint of the S3 target is not valid")
	}
	return b, nil
}

func isEndpoint(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = s, "443"
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0 && hostPattern.MatchString(host)
}

// s3Credentials are where other programs look for them, too, and in files, as every secret of this program can be. A machine
// of Amazon's own is asked only for Amazon's service: elsewhere nobody would answer.
func s3Credentials(amazon bool) (*credentials.Credentials, error) {
	providers := []credentials.Provider{&credentials.EnvAWS{}, envFiles{}, &credentials.EnvMinio{}, &credentials.FileAWSCredentials{}}
	if amazon {
		providers = append(providers, &credentials.IAM{})
	}
	chain := credentials.NewChainCredentials(providers)
	if amazon {
		return chain, nil
	}
	found, err := chain.GetWithContext(&credentials.CredContext{Client: http.DefaultClient})
	if err != nil || found.SignerType.IsAnonymous() || found.AccessKeyID == "" || found.SecretAccessKey == "" {
		return nil, errNoCredential
	}
	return chain, nil
}

// envFiles reads the files that AWS_…_FILE name.
type envFiles struct{}

func (envFiles) Retrieve() (credentials.Value, error) {
	v := credentials.Value{SignerType: credentials.SignatureV4}
	var err error
	read := func(name string) string {
		path := os.Getenv(name)
		if path == "" {
			return ""
		}
		text, readErr := os.ReadFile(path)
		err = cmp.Or(err, readErr)
		return strings.TrimSpace(string(text))
	}
	v.AccessKeyID = read("AWS_ACCESS_KEY_ID_FILE")
	v.SecretAccessKey = read("AWS_SECRET_ACCESS_KEY_FILE")
	v.SessionToken = read("AWS_SESSION_TOKEN_FILE")
	if err != nil || v.AccessKeyID == "" || v.SecretAccessKey == "" {
		return credentials.Value{}, cmp.Or(err, errNoCredential)
	}
	return v, nil
}

func (e envFiles) RetrieveWithCredContext(*credentials.CredContext) (credentials.Value, error) {
	return e.Retrieve()
}

func (envFiles) IsExpired() bool { return false }

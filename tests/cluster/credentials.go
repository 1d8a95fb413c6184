package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// user is one line of the API server's token file.
type user struct {
	name   string
	groups []string
	// file is the name of the user's kubeconfig under users/.
	file string
}

// The components bear the names that RBAC's bootstrap bindings expect, as under kubeadm, so that
// they have no more rights than in a real cluster. The tenants have none until a test binds some.
var users = []user{
	{name: "admin", groups: []string{"system:masters"}, file: "admin"},
	{name: "tenant", groups: []string{"tenants"}, file: "tenant"},
	{name: "other-tenant", groups: []string{"other-tenants"}, file: "other-tenant"},
	{name: "kwok", groups: []string{"system:masters"}, file: "kwok"},
	{name: "system:kube-scheduler", file: "kube-scheduler"},
	{name: "system:kube-controller-manager", file: "kube-controller-manager"},
}

// layout names the files of a control plane's folder.
type layout struct{ dir string }

func (l layout) path(parts ...string) string {
	return filepath.Join(append([]string{l.dir}, parts...)...)
}
func (l layout) caCertificate() string        { return l.path("pki", "ca.crt") }
func (l layout) caKey() string                { return l.path("pki", "ca.key") }
func (l layout) servingCertificate() string   { return l.path("pki", "serving.crt") }
func (l layout) servingKey() string           { return l.path("pki", "serving.key") }
func (l layout) serviceAccountKey() string    { return l.path("pki", "service-account.key") }
func (l layout) serviceAccountPublic() string { return l.path("pki", "service-account.pub") }
func (l layout) tokens() string               { return l.path("users.csv") }
func (l layout) kubeconfig() string           { return l.path("kubeconfig") }
func (l layout) userKubeconfig(file string) string {
	return l.path("users", file+".kubeconfig")
}
func (l layout) log(component string) string { return l.path("logs", component+".log") }

// writePKI makes one certificate authority, one serving certificate for loopback that all the
// components share, and the key that signs service account tokens. Elliptic keys, because making
// RSA keys would take a good part of the start's time.
func writePKI(l layout) error {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	notBefore, notAfter := time.Now().Add(-time.Hour), time.Now().Add(30*24*time.Hour)
	ca := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "gangplank-testcluster-ca"},
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return err
	}
	servingKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serving := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: "gangplank-testcluster"},
		NotBefore:    notBefore,
		NotAfter:     notAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	servingDER, err := x509.CreateCertificate(rand.Reader, serving, ca, servingKey.Public(), caKey)
	if err != nil {
		return err
	}
	serviceAccountKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serviceAccountPublic, err := x509.MarshalPKIXPublicKey(serviceAccountKey.Public())
	if err != nil {
		return err
	}
	for path, block := range map[string]*pem.Block{
		l.caCertificate():        {Type: "CERTIFICATE", Bytes: caDER},
		l.servingCertificate():   {Type: "CERTIFICATE", Bytes: servingDER},
		l.serviceAccountPublic(): {Type: "PUBLIC KEY", Bytes: serviceAccountPublic},
	} {
		if err := writePEM(path, block); err != nil {
			return err
		}
	}
	for path, key := range map[string]*ecdsa.PrivateKey{
		l.caKey():             caKey,
		l.servingKey():        servingKey,
		l.serviceAccountKey(): serviceAccountKey,
	} {
		der, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			return err
		}
		if err := writePEM(path, &pem.Block{Type: "EC PRIVATE KEY", Bytes: der}); err != nil {
			return err
		}
	}
	return nil
}

func writePEM(path string, block *pem.Block) error {
	return os.WriteFile(path, pem.EncodeToMemory(block), 0o600)
}

// writeUsers writes the token file and one kubeconfig per user, and the admin's once more as the
// control plane's own kubeconfig.
func writeUsers(l layout, server string) error {
	var lines strings.Builder
	for index, user := range users {
		token, err := newToken()
		if err != nil {
			return err
		}
		fmt.Fprintf(&lines, "%s,%s,%d,%q\n", token, user.name, index+1, strings.Join(user.groups, ","))
		if err := writeKubeconfig(l, l.userKubeconfig(user.file), server, user.name, token); err != nil {
			return err
		}
		if user.name == "admin" {
			if err := writeKubeconfig(l, l.kubeconfig(), server, user.name, token); err != nil {
				return err
			}
		}
	}
	return os.WriteFile(l.tokens(), []byte(lines.String()), 0o600)
}

func newToken() (string, error) {
	token := make([]byte, 16)
	if _, err := rand.Read(token); err != nil {
		return "", err
	}
	return hex.EncodeToString(token), nil
}

func writeKubeconfig(l layout, path, server, userName, token string) error {
	ca, err := os.ReadFile(l.caCertificate())
	if err != nil {
		return err
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["testcluster"] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: ca}
	config.AuthInfos[userName] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts["testcluster"] = &clientcmdapi.Context{Cluster: "testcluster", AuthInfo: userName}
	config.CurrentContext = "testcluster"
	return clientcmd.WriteToFile(*config, path)
}

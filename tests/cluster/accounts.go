package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// serviceAccountKubeconfigMain writes a kubeconfig that acts as a service account, which must exist,
// and prints its path.
func serviceAccountKubeconfigMain(args []string) int {
	flags := flag.NewFlagSet("service-account-kubeconfig", flag.ContinueOnError)
	dir := flags.String("dir", "", "the running control plane's folder (required)")
	if err := flags.Parse(args); err != nil {
		return exitUsage
	}
	if *dir == "" || flags.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "usage: service-account-kubeconfig --dir DIR NAMESPACE NAME")
		return exitUsage
	}
	folder, err := filepath.Abs(*dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "service-account-kubeconfig:", err)
		return exitFailure
	}
	path, err := writeServiceAccountKubeconfig(layout{dir: folder}, flags.Arg(0), flags.Arg(1))
	if err != nil {
		fmt.Fprintln(os.Stderr, "service-account-kubeconfig:", err)
		return exitFailure
	}
	fmt.Println(path)
	return 0
}

func writeServiceAccountKubeconfig(l layout, namespace, name string) (string, error) {
	config, err := clientcmd.BuildConfigFromFlags("", l.kubeconfig())
	if err != nil {
		return "", err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	lifetimeSeconds := int64(24 * 60 * 60)
	request := &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &lifetimeSeconds},
	}
	answer, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, request, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	path := l.userKubeconfig(namespace + "." + name)
	return path, writeKubeconfig(l, path, config.Host, name, answer.Status.Token)
}

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is one component's child process.
type process struct {
	name    string
	command *exec.Cmd
	logPath string
	// exited is closed once the process is gone and reaped.
	exited chan struct{}
}

// forkRequests hands forks to one thread that lives as long as this process. The kernel sends the
// parent-death signal when the *thread* that forked ends, and Go ends threads at will.
var forkRequests = sync.OnceValue(func() chan<- func() {
	requests := make(chan func())
	go func() {
		runtime.LockOSThread()
		for fork := range requests {
			fork()
		}
	}()
	return requests
})

// startProcess starts argv with its output appended to logPath. The child is killed by the kernel
// if this process dies, and sits in a process group of its own, so that an interrupt typed at the
// terminal reaches only this process, which then ends the children in order.
func startProcess(name string, argv, environment []string, logPath string) (*process, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	command := exec.Command(argv[0], argv[1:]...)
	command.Env = append(os.Environ(), environment...)
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error)
	forkRequests() <- func() { started <- command.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	child := &process{name: name, command: command, logPath: logPath, exited: make(chan struct{})}
	go func() {
		_ = command.Wait()
		close(child.exited)
	}()
	return child, nil
}

func (p *process) pid() int { return p.command.Process.Pid }

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// stop asks the process to end, and kills it when the grace is over.
func (p *process) stop(grace time.Duration) {
	if !p.running() {
		return
	}
	_ = p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
		return
	case <-time.After(grace):
	}
	_ = p.command.Process.Kill()
	<-p.exited
}

// diedEarly says that a component ended before the control plane was ready.
type diedEarly struct {
	component string
	state     string
	logTail   string
}

func (e *diedEarly) Error() string {
	return fmt.Sprintf("%s ended early (%s), the end of its log:\n%s", e.component, e.state, e.logTail)
}

// portWasTaken tells whether another process took a port between its choice and its use.
func portWasTaken(err error) bool {
	var died *diedEarly
	return errors.As(err, &died) && strings.Contains(died.logTail, "address already in use")
}

func (p *process) diedEarly() error {
	return &diedEarly{component: p.name, state: p.command.ProcessState.String(), logTail: tail(p.logPath, 25)}
}

// tail returns a file's last lines.
func tail(path string, lineCount int) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimRight(content, "\n"), []byte("\n"))
	if len(lines) > lineCount {
		lines = lines[len(lines)-lineCount:]
	}
	return string(bytes.Join(lines, []byte("\n")))
}

// The other side of the tests of interop: go-kit's sd/etcdv3 and etcd's naming for gRPC, unchanged.
//
//	peer ENDPOINT gokit-register KEY VALUE           until the end of input: Registrar
//	peer ENDPOINT gokit-watch PREFIX                 one line for each event of an Instancer
//	peer ENDPOINT naming-add TARGET KEY ADDR META    until the end of input: Manager; META is JSON
//	peer ENDPOINT naming-watch TARGET                two lines for each update of the resolver for gRPC
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"sort"
	"time"

	"github.com/go-kit/kit/sd"
	"github.com/go-kit/kit/sd/etcdv3"
	"github.com/go-kit/log"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	naming "go.etcd.io/etcd/client/v3/naming/resolver"
	"google.golang.org/grpc/resolver"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func say(word string, value any) {
	text, err := json.Marshal(value)
	check(err)
	fmt.Println(word, string(text))
}

func awaitEndOfInput() {
	_, err := io.Copy(io.Discard, os.Stdin)
	check(err)
}

// spy reports when the watch of an Instancer is open. go-kit misses what happens before.
type spy struct{ etcdv3.Client }

func (s spy) WatchPrefix(prefix string, ch chan struct{}) {
	events := make(chan struct{})
	go s.Client.WatchPrefix(prefix, events)
	<-events
	fmt.Println("watching")
	ch <- struct{}{}
	for range events {
		ch <- struct{}{}
	}
}

func goKit(ctx context.Context, endpoint string) etcdv3.Client {
	client, err := etcdv3.NewClient(ctx, []string{endpoint}, etcdv3.ClientOptions{})
	check(err)
	return client
}

func goKitRegister(ctx context.Context, endpoint, key, value string) {
	registrar := etcdv3.NewRegistrar(goKit(ctx, endpoint), etcdv3.Service{
		Key:   key,
		Value: value,
		TTL:   etcdv3.NewTTLOption(time.Second, 5*time.Second),
	}, log.NewLogfmtLogger(os.Stderr))
	registrar.Register()
	fmt.Println("registered")
	awaitEndOfInput()
	registrar.Deregister()
	fmt.Println("deregistered")
}

func goKitWatch(ctx context.Context, endpoint, prefix string) {
	instancer, err := etcdv3.NewInstancer(spy{goKit(ctx, endpoint)}, prefix, log.NewNopLogger())
	check(err)
	events := make(chan sd.Event)
	go instancer.Register(events)
	for event := range events {
		check(event.Err)
		instances := append([]string{}, event.Instances...)
		sort.Strings(instances)
		say("instances", instances)
	}
}

func client(endpoint string) *clientv3.Client {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 3 * time.Second})
	check(err)
	return client
}

func namingAdd(ctx context.Context, endpoint, target, key, addr, meta string) {
	client := client(endpoint)
	manager, err := endpoints.NewManager(client, target)
	check(err)
	var metadata any
	check(json.Unmarshal([]byte(meta), &metadata))
	check(manager.AddEndpoint(ctx, key, endpoints.Endpoint{Addr: addr, Metadata: metadata}))
	fmt.Println("added")
	awaitEndOfInput()
	check(manager.DeleteEndpoint(ctx, key))
	fmt.Println("deleted")
}

// conn is what gRPC would be to the resolver.
type conn struct {
	resolver.ClientConn
	update func([]resolver.Address)
}

func (c conn) UpdateState(state resolver.State) error {
	c.update(state.Addresses)
	return nil
}

func namingWatch(ctx context.Context, endpoint, target string) {
	client := client(endpoint)
	manager, err := endpoints.NewManager(client, target)
	check(err)
	builder, err := naming.NewBuilder(client)
	check(err)
	address, err := url.Parse("etcd:///" + target)
	check(err)
	update := func(addresses []resolver.Address) {
		found := []string{}
		for _, address := range addresses {
			found = append(found, address.Addr)
		}
		sort.Strings(found)
		say("resolved", found)
		// etcd 3.4 sends an event before a serializable read, as that of List, shows it. A linearizable read waits for it.
		_, err := client.Get(ctx, target)
		check(err)
		list, err := manager.List(ctx)
		check(err)
		say("endpoints", list)
	}
	_, err = builder.Build(resolver.Target{URL: *address}, conn{update: update}, resolver.BuildOptions{})
	check(err)
	fmt.Println("watching")
	select {}
}

func main() {
	ctx := context.Background()
	args := os.Args[1:]
	switch {
	case len(args) == 4 && args[1] == "gokit-register":
		goKitRegister(ctx, args[0], args[2], args[3])
	case len(args) == 3 && args[1] == "gokit-watch":
		goKitWatch(ctx, args[0], args[2])
	case len(args) == 6 && args[1] == "naming-add":
		namingAdd(ctx, args[0], args[2], args[3], args[4], args[5])
	case len(args) == 3 && args[1] == "naming-watch":
		namingWatch(ctx, args[0], args[2])
	default:
		fmt.Fprintln(os.Stderr, "no such command:", args)
		os.Exit(2)
	}
}

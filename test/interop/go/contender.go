// A contender of the tests of coordination: etcd's own clientv3/concurrency, unchanged.
//
//	contender ENDPOINT NAME WHO TTL    takes the lock, writes its key under /written/WHO a few times, unlocks, again and
//	                                   again, until the end of input
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	endpoint, name, who := os.Args[1], os.Args[2], os.Args[3]
	ttl, err := strconv.Atoi(os.Args[4])
	check(err)
	var ended atomic.Bool
	go func() {
		io.Copy(io.Discard, os.Stdin)
		ended.Store(true)
	}()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 5 * time.Second})
	check(err)
	defer client.Close()
	for !ended.Load() {
		turn(client, name, who, ttl)
	}
	fmt.Println("ended")
}

// turn holds the lock once. An error means that the session was lost: the next turn starts afresh.
func turn(client *clientv3.Client, name, who string, ttl int) {
	session, err := concurrency.NewSession(client, concurrency.WithTTL(ttl))
	if err != nil {
		return
	}
	defer session.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	mutex := concurrency.NewMutex(session, name)
	if mutex.Lock(ctx) != nil {
		return
	}
	for range 3 {
		// Guarded, as clientv3's users do it: IsOwner is the comparison with the fencing token.
		_, err := client.Txn(ctx).If(mutex.IsOwner()).Then(clientv3.OpPut("/written/"+who, mutex.Key())).Commit()
		if err != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	mutex.Unlock(ctx)
}

# What a user of the reference has in the shell's history, against this store: its commands and variables, its requests and answers.
# In the reference each process has a host of its own; here each has an address of the loopback network.
export EDGE_URLKEY_SECRET=demo-secret-change-me-in-production
export KVFS_CLUSTER_SECRET=the-one-variable-that-is-new-here

for n in 1 2 3; do
  DN_ID=dn$n DN_ADDR=127.0.0.1$n:8080 DN_DATA_DIR=./dn$n kvfs dn > dn$n.log 2>&1 &
done
EDGE_ADDR=:8000 EDGE_DNS=127.0.0.11:8080,127.0.0.12:8080,127.0.0.13:8080 EDGE_DATA_DIR=./edge-data EDGE_METRICS=1 \
  EDGE_QUORUM_WRITE=2 kvfs edge > edge.log 2>&1 &
curl -s --retry 60 --retry-delay 1 --retry-connrefused http://localhost:8000/readyz > /dev/null

status() { curl -s -o body -D head -w '%{http_code}' "$@"; }
sign() { kvfs sign --method "$1" --path "$2" --ttl 1h --base http://localhost:8000; }
expect() { [ "$1" = "$2" ] || { echo "$3: expected $2, got $1: $(cat body)"; exit 1; }; }
has() { grep -qi -- "$2" "$1" || { echo "$3: $2 is not in: $(cat "$1")"; exit 1; }; }

# PUT: 201, and where the chunks are.
expect "$(status -X PUT --data-binary 'hello kvfs' -H 'Content-Type: text/plain' "$(sign PUT /v1/o/photos/2026/cat.txt)")" 201 PUT
for part in '"bucket":"photos"' '"key":"2026/cat.txt"' '"size":10' '"version":1' '"chunk_id":"' '"replicas":\["127.0.0.1[123]:8080"'; do
  has body "$part" "the answer to PUT"
done
# GET, HEAD.
expect "$(status "$(sign GET /v1/o/photos/2026/cat.txt)")" 200 GET
expect "$(cat body)" 'hello kvfs' 'the body'
for header in 'content-type: text/plain' 'content-length: 10' 'x-kvfs-version: 1' 'x-kvfs-chunks: 1'; do
  has head "$header" "the answer to GET"
done
expect "$(status -I "$(sign HEAD /v1/o/photos/2026/cat.txt)")" 200 HEAD
has head 'last-modified: ' 'the answer to HEAD'
# Quorums.
expect "$(status -X PUT --data-binary 'all three' -H 'X-KVFS-W: 3' "$(sign PUT /v1/o/photos/w3)")" 201 'W 3'
expect "$(status -H 'X-KVFS-R: 2' "$(sign GET /v1/o/photos/w3)")" 200 'R 2'
expect "$(status -X PUT --data-binary x -H 'X-KVFS-W: 4' "$(sign PUT /v1/o/photos/w4)")" 400 'W 4'
expect "$(status -H 'X-KVFS-R: 4' "$(sign GET /v1/o/photos/w3)")" 400 'R 4'
# Lists: the query is not signed.
list="$(sign GET /v1/list/photos)"
expect "$(status "$list&prefix=2026/&limit=10")" 200 list
has body '"count":1' 'the list'
has body '"key":"2026/cat.txt"' 'the list'
# Signatures: those of another method, and old ones.
expect "$(status -X DELETE "$(sign GET /v1/o/photos/w3)")" 401 "another method's signature"
expect "$(status http://localhost:8000/v1/o/photos/w3)" 401 'no signature'
# DELETE.
expect "$(status -X DELETE "$(sign DELETE /v1/o/photos/w3)")" 204 DELETE
expect "$(status "$(sign GET /v1/o/photos/w3)")" 404 'GET after DELETE'
expect "$(status -X DELETE "$(sign DELETE /v1/o/photos/w3)")" 404 'DELETE after DELETE'
# Health and metrics.
expect "$(status http://localhost:8000/healthz)" 200 healthz
has body '"dns":\["127.0.0.11:8080"' healthz
has body '"status":"ok"' healthz
expect "$(status http://localhost:8000/metrics)" 200 metrics
has body 'kvfs_put_total{mode="replication"} 2' metrics
has body 'kvfs_tunable_quorum_total{op="write",value="3"} 1' metrics
# The chunk is a file on each node, named by its hash.
sum=$(printf 'hello kvfs' | sha256sum | cut -c1-64)
for n in 1 2 3; do ls "dn$n/chunks/${sum%"${sum#??}"}/${sum#??}" > /dev/null; done
echo "$(grep -c '' "$0") lines of a reference user's shell: all as expected"

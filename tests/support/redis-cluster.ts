/** A real Redis Cluster of this test alone: three masters, of which each can be stopped, frozen and relieved of slots. */
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCertificate } from './certificate.ts';
import { eventually } from './eventually.ts';
import { findFreePort } from './programs.ts';
import { type PrivateRedis, startRedis } from './redis.ts';

const SLOTS = 16_384;
const MASTERS = 3;
/** How long a node may be silent before the others give it up. */
export const NODE_TIMEOUT_MS = 1000;

export interface ClusterNode extends PrivateRedis {
  /** What the cluster calls it. */
  readonly id: string;
}

export interface RedisCluster {
  /** Every master as it was at the start, as `REDIS_URL` wants them. */
  readonly url: string;
  /** The masters, each with a third of the slots. */
  readonly nodes: readonly ClusterNode[];
  /** Trusted by clients of a cluster that speaks TLS: the path of a PEM file. */
  readonly certificate?: string;
  slotOf(key: string): Promise<number>;
  /** The node that holds a key. */
  ownerOf(key: string): Promise<ClusterNode>;
  /** Something that a node holds, whether taken as a key or in braces within one. */
  keyOn(node: ClusterNode): Promise<string>;
  /** Adds a node without slots: another master, or a replica of one. */
  add(replicaOf?: ClusterNode): Promise<ClusterNode>;
  /** Moves a slot and its keys as `redis-cli --cluster reshard` does. `during` runs while the slot is on its way. */
  moveSlot(slot: number, to: ClusterNode, during?: () => Promise<unknown>): Promise<void>;
  close(): Promise<void>;
}

export async function startRedisCluster(
  options: { readonly tls?: boolean; readonly password?: string } = {},
): Promise<RedisCluster> {
  await using opened = new AsyncDisposableStack();
  const tls = options.tls ? await makeCertificate() : undefined;
  if (tls) opened.defer(tls.remove);
  const members: ClusterMember[] = [];
  opened.defer(async () => void (await Promise.all(members.map(({ node }) => node.close()))));
  const start = async () => {
    const member = await startNode(tls?.args);
    members.push(member);
    return member;
  };
  const masters = await Promise.all(Array.from({ length: MASTERS }, start));
  const nodes = masters.map(({ node }) => node);
  await share(masters);
  await untilAgreed(members);
  // Not before: set-up speaks without one.
  if (options.password !== undefined) {
    for (const node of nodes) await node.command('CONFIG', 'SET', 'requirepass', options.password);
  }

  const [first] = masters;
  if (!first) throw new Error('a cluster needs a node');
  const slotOf = async (key: string) => Number(await first.node.command('CLUSTER', 'KEYSLOT', key));
  const ownerOf = async (key: string) => {
    const slot = await slotOf(key);
    const owner = nodes[Math.floor((slot * MASTERS) / SLOTS)];
    if (!owner) throw new Error(`nobody holds slot ${slot}`);
    return owner;
  };
  const resources = opened.move();
  const scheme = tls ? 'rediss' : 'redis';
  const credentials = options.password === undefined ? '' : `:${encodeURIComponent(options.password)}@`;
  return {
    url: masters.map(({ port }) => `${scheme}://${credentials}127.0.0.1:${port}`).join(','),
    nodes,
    ...(tls && { certificate: tls.certificate }),
    slotOf,
    ownerOf,
    async keyOn(node) {
      for (;;) {
        const key = randomUUID();
        if ((await ownerOf(key)) === node) return key;
      }
    },
    async add(replicaOf) {
      const member = await start();
      await meet(first, member);
      await untilAgreed(members);
      if (replicaOf) await member.node.command('CLUSTER', 'REPLICATE', replicaOf.id);
      return member.node;
    },
    moveSlot: (slot, to, during) =>
      moveSlot(
        members.map(({ node }) => node),
        slot,
        to,
        during,
      ),
    close: () => resources.disposeAsync(),
  };
}

interface ClusterMember {
  readonly node: ClusterNode;
  /** For clients. */
  readonly port: number;
  /** For the other nodes. */
  readonly busPort: number;
}

async function startNode(tlsArgs: readonly string[] = []): Promise<ClusterMember> {
  const busPort = await findFreePort();
  const tlsPort = tlsArgs.length > 0 ? await findFreePort() : undefined;
  const redis = await startRedis({
    args: [
      ...['--cluster-enabled', 'yes', '--cluster-port', `${busPort}`, '--cluster-announce-ip', '127.0.0.1'],
      ...['--cluster-node-timeout', `${NODE_TIMEOUT_MS}`, '--cluster-require-full-coverage', 'no'],
      ...(tlsPort === undefined ? [] : ['--tls-port', `${tlsPort}`, ...tlsArgs]),
    ],
  });
  const id = String(await redis.command('CLUSTER', 'MYID'));
  return { node: { ...redis, id }, port: tlsPort ?? Number(new URL(redis.url).port), busPort };
}

/** Deals the slots, in order and in equal parts, and makes the nodes known to each other. */
async function share(masters: readonly ClusterMember[]): Promise<void> {
  await Promise.all(
    masters.map(async ({ node }, index) => {
      const from = Math.ceil((index * SLOTS) / MASTERS);
      const to = Math.ceil(((index + 1) * SLOTS) / MASTERS) - 1;
      await node.command('CLUSTER', 'ADDSLOTSRANGE', from, to);
      await node.command('CLUSTER', 'SET-CONFIG-EPOCH', index + 1);
    }),
  );
  const [first, ...others] = masters;
  for (const other of others) if (first) await meet(first, other);
}

async function meet(known: ClusterMember, other: ClusterMember): Promise<void> {
  await known.node.command('CLUSTER', 'MEET', '127.0.0.1', other.port, other.busPort);
}

/** Every node knows every other and finds the cluster complete. */
async function untilAgreed(members: readonly ClusterMember[]): Promise<void> {
  for (const { node } of members) {
    await eventually('a complete cluster', async () => {
      const info = String(await node.command('CLUSTER', 'INFO'));
      return info.includes('cluster_state:ok') && info.includes(`cluster_known_nodes:${members.length}`);
    });
  }
}

async function moveSlot(
  nodes: readonly ClusterNode[],
  slot: number,
  to: ClusterNode,
  during?: () => Promise<unknown>,
): Promise<void> {
  const from = await holderOf(nodes, slot);
  if (from === to) return;
  const { hostname, port } = new URL(to.url);
  await to.command('CLUSTER', 'SETSLOT', slot, 'IMPORTING', from.id);
  await from.command('CLUSTER', 'SETSLOT', slot, 'MIGRATING', to.id);
  await during?.();
  for (;;) {
    const keys = (await from.command('CLUSTER', 'GETKEYSINSLOT', slot, 10)) as readonly string[];
    if (keys.length === 0) break;
    await from.command('MIGRATE', hostname, port, '', 0, 5000, 'KEYS', ...keys);
  }
  for (const node of [to, from, ...nodes]) await node.command('CLUSTER', 'SETSLOT', slot, 'NODE', to.id);
}

async function holderOf(nodes: readonly ClusterNode[], slot: number): Promise<ClusterNode> {
  for (const node of nodes) {
    const ranges = (await node.command('CLUSTER', 'SLOTS')) as readonly SlotRange[];
    const range = ranges.find(([from, to]) => from <= slot && slot <= to);
    const holder = nodes.find(({ id }) => id === range?.[2][2]);
    if (holder) return holder;
  }
  throw new Error(`nobody holds slot ${slot}`);
}

type SlotRange = readonly [
  from: number,
  to: number,
  master: readonly [host: string, port: number, id: string],
];

/** A certificate, and the settings under which nodes use it among themselves. */
async function makeCertificate() {
  const directory = mkdtempSync(join(tmpdir(), 'llm-gateway-certificate-'));
  const { certificate, key } = await createCertificate(directory);
  return {
    certificate,
    args: [
      ...['--tls-cert-file', certificate, '--tls-key-file', key, '--tls-ca-cert-file', certificate],
      ...['--tls-cluster', 'yes', '--tls-auth-clients', 'no'],
    ],
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}

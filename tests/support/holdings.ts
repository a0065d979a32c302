/** What a stack holds at the moment: connections, leases, usage on its way, requests, memory. */
import { readdirSync, readFileSync } from 'node:fs';
import { eventually } from './eventually.ts';
import type { Stack } from './stack.ts';

export interface Holdings {
  /** Of all gateways and of the operator, who has the same name there. */
  readonly postgresConnections: number;
  readonly redisConnections: number;
  /** Requests that Redis counts as running. */
  readonly leases: number;
  /** Usage records in the memory of gateways, on their way. */
  readonly waiting: number;
  /** Usage records in Redis. One whose fate is unclear after an outage stays for up to a minute. */
  readonly entries: number;
  /** Usage records that the gateways gave up. */
  readonly lost: number;
  /** Requests under way, as the gateways have it. */
  readonly inFlight: number;
  /** Bytes of memory, by replica. */
  readonly residentBytes: readonly number[];
  /** Open files and sockets, by replica. */
  readonly descriptors: readonly number[];
}

/** Both stores and all replicas have to be there. */
export async function readHoldings(stack: Stack): Promise<Holdings> {
  // Before the other questions to Redis, which have connections of their own.
  const clients = await stack.redis.command('CLIENT', 'LIST');
  const [activity, leases, entries, metrics] = await Promise.all([
    stack.operator.database.query<{ count: number }>(
      "select count(*)::int as count from pg_stat_activity where application_name = 'llm-gateway'",
    ),
    countLeases(stack),
    stack.redis.command('XLEN', 'llmgw:usage'),
    Promise.all(stack.replicas.map(async ({ url }) => await (await fetch(`${url}/metrics`)).text())),
  ]);
  const sum = (pattern: RegExp) =>
    metrics.flatMap((text) => [...text.matchAll(pattern)]).reduce((all, [, value]) => all + Number(value), 0);
  const waiting = sum(/^llm_gateway_usage_records_waiting\{[^}]*memory[^}]*\} (\S+)$/gm);
  return {
    postgresConnections: activity[0]?.count ?? 0,
    // One is that of the question.
    redisConnections: String(clients).trim().split('\n').length - 1,
    leases,
    waiting,
    entries: Number(entries),
    lost: sum(/^llm_gateway_usage_records_lost_total (\S+)$/gm),
    inFlight: sum(/^llm_gateway_in_flight\{[^}]*\} (\S+)$/gm),
    residentBytes: stack.replicas.map(({ pid }) => residentBytes(pid)),
    descriptors: stack.replicas.map(({ pid }) => readdirSync(`/proc/${pid}/fd`).length),
  };
}

/** Resolves when nothing runs any more and no gateway has anything left to do. */
export async function untilIdle(stack: Stack): Promise<Holdings> {
  let last: Holdings | Error | undefined;
  const look = async () => {
    last = await readHoldings(stack).catch((error: Error) => error);
    return !(last instanceof Error) && last.inFlight + last.waiting + last.leases === 0 && last;
  };
  return await eventually('a stack that has nothing left to do', look).catch((error: Error) => {
    throw new Error(`${error.message}: ${last instanceof Error ? last.message : JSON.stringify(last)}`);
  });
}

async function countLeases({ redis }: Stack): Promise<number> {
  const keys = (await redis.command('KEYS', 'llmgw:{*}:held')) as readonly string[];
  const counts = await Promise.all(keys.map((key) => redis.command('HLEN', key)));
  return counts.reduce<number>((all, count) => all + Number(count), 0);
}

/** Bytes of memory that a process occupies. */
export function residentBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1024;
}

import type { ObjectRef } from '@pothos/core';
import { builder } from './builder.ts';
import { ArgumentError } from './errors.ts';
import { decodeOpaque, encodeOpaque } from './ids.ts';

const DEFAULT_PAGE = 20;
const MAX_PAGE = 100;

interface PageInfo {
  readonly hasNextPage: boolean;
  readonly hasPreviousPage: boolean;
  readonly startCursor: string | undefined;
  readonly endCursor: string | undefined;
}

export interface Connection<T> {
  readonly edges: readonly { readonly node: T; readonly cursor: string }[];
  readonly pageInfo: PageInfo;
}

/** The arguments of every connection. There is no way back: pages are read onwards, newest first. */
export const PAGE_ARGS = builder.args((t) => ({
  first: t.int({
    required: true,
    defaultValue: DEFAULT_PAGE,
    description: `How many at most, 1 to ${MAX_PAGE}.`,
  }),
  after: t.string({
    description: 'The cursor of the last one of the page before. Absent: from the newest on.',
  }),
}));

/**
 * One page, as Relay's specification describes it.
 * @param load gives at most `limit` of what comes after the cursor's text.
 * @param keyOf what a cursor says about a node: enough for `load` to find the place again.
 * @throws ArgumentError.
 */
export async function loadPage<T>(
  { first, after }: { readonly first: number; readonly after?: string | null | undefined },
  load: (limit: number, after: string | undefined) => Promise<readonly T[]>,
  keyOf: (node: T) => string,
): Promise<Connection<T>> {
  if (first < 1 || first > MAX_PAGE) throw new ArgumentError('first', `first must be 1 to ${MAX_PAGE}.`);
  const start = typeof after === 'string' ? decodeOpaque(after) : undefined;
  if (typeof after === 'string' && start === undefined) throw invalidCursor();
  // One more than asked for tells whether there is another page.
  const nodes = await load(first + 1, start);
  const edges = nodes.slice(0, first).map((node) => ({ node, cursor: encodeOpaque(keyOf(node)) }));
  return {
    edges,
    pageInfo: {
      hasNextPage: nodes.length > first,
      hasPreviousPage: start !== undefined,
      startCursor: edges[0]?.cursor,
      endCursor: edges.at(-1)?.cursor,
    },
  };
}

export function invalidCursor(): ArgumentError {
  return new ArgumentError('after', 'after must be a cursor of an earlier page.');
}

const PageInfoType = builder.objectRef<PageInfo>('PageInfo').implement({
  description: 'Where a page stands among the others.',
  fields: (t) => ({
    hasNextPage: t.exposeBoolean('hasNextPage', { description: 'Whether there is more after this page.' }),
    hasPreviousPage: t.exposeBoolean('hasPreviousPage', {
      description: 'Whether this page began after a cursor.',
    }),
    startCursor: t.exposeString('startCursor', {
      nullable: true,
      description: 'Null where the page is empty.',
    }),
    endCursor: t.exposeString('endCursor', {
      nullable: true,
      description: 'What `after` has to be for the next page. Null where the page is empty.',
    }),
  }),
});

type BuilderTypes = (typeof builder)['$inferSchemaTypes'];

/** The two types that a connection to `node` needs. */
export function createConnectionType<T>(name: string, node: ObjectRef<BuilderTypes, T>, what: string) {
  const edge = builder.objectRef<Connection<T>['edges'][number]>(`${name}Edge`).implement({
    description: `One of ${what}, at its place in the list.`,
    fields: (t) => ({
      node: t.expose('node', { type: node, description: 'The item itself.' }),
      cursor: t.exposeString('cursor', { description: 'The place in the list, for `after`. Opaque.' }),
    }),
  });
  return builder.objectRef<Connection<T>>(`${name}Connection`).implement({
    description: `A page of ${what}, newest first.`,
    fields: (t) => ({
      edges: t.expose('edges', { type: [edge], description: 'The items with their cursors.' }),
      nodes: t.field({
        type: [node],
        description: 'The items without their cursors.',
        resolve: (parent) => parent.edges.map((item) => item.node),
      }),
      pageInfo: t.expose('pageInfo', { type: PageInfoType, description: 'Where this page stands.' }),
    }),
  });
}

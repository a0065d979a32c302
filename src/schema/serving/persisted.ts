import type { Params } from './params.ts';
import { refusal } from './refusal.ts';

/** Documents by their ids. */
export type Manifest = ReadonlyMap<string, string>;

/** Which documents are known, and whether there may be others. */
export interface PersistedDocuments {
  readonly manifest: Manifest;
  readonly only: boolean;
}

/**
 * A manifest as tools write it: `{"<id>": "<document>"}` (GraphQL Code Generator, Relay), or Apollo's
 * `{"format": "apollo-persisted-query-manifest", "operations": [{"id", "body"}]}`.
 * @throws Error that says what is wrong with it.
 */
export function parseManifest(text: string): Manifest {
  const json: unknown = JSON.parse(text);
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw new Error('it is not an object');
  const entries =
    'operations' in json && Array.isArray(json.operations)
      ? json.operations.map((operation): [unknown, unknown] => [operation?.id, operation?.body])
      : Object.entries(json);
  const manifest = new Map<string, string>();
  for (const [id, document] of entries) {
    if (typeof id !== 'string' || typeof document !== 'string') {
      throw new Error('it holds something else than documents and their ids');
    }
    manifest.set(id, document);
  }
  return manifest;
}

/** @returns the text of the document that is meant. @throws GraphQLError where it is not known, or not allowed. */
export function resolveDocument(params: Params, { manifest, only }: PersistedDocuments): string {
  const { query, documentId } = params;
  if (documentId !== undefined) {
    const known = manifest.get(documentId);
    if (known !== undefined) return known;
    // The message is the one that Apollo's clients look for before they send the document itself.
    if (!query || only)
      throw refusal('PERSISTED_QUERY_NOT_FOUND', 'PersistedQueryNotFound', 400, { spec: true });
  }
  if (only) {
    throw refusal(
      'PERSISTED_DOCUMENT_REQUIRED',
      'Only persisted documents are accepted. Send a `documentId`.',
      400,
      { spec: true },
    );
  }
  return query ?? '';
}

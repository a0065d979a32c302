import { BEARER } from './graphql-server.ts';

/** The bytes of a request with the key of the server under test, for who writes to a connection itself. */
export function graphqlBytes(query: string, accept = '*/*', variables?: object): string {
  const body = JSON.stringify({ query, variables });
  return (
    `POST /graphql HTTP/1.1\r\nHost: a\r\nAuthorization: ${BEARER}\r\nAccept: ${accept}\r\n` +
    `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`
  );
}

import { describe, expect, test } from '@jest/globals';
import { type Head, ResponseParser, UnreadableResponse } from '../../../src/providers/ollama/response.ts';

interface Answer {
  readonly head: Head;
  body: string;
  ended: boolean;
}

function startParser() {
  const answers: Answer[] = [];
  const last = () => answers.at(-1) as Answer;
  const parser = new ResponseParser({
    onHead: (head) => void answers.push({ head, body: '', ended: false }),
    onBody(bytes, start, end) {
      last().body += bytes.toString('latin1', start, end);
    },
    onEnd() {
      last().ended = true;
    },
  });
  return { parser, answers };
}

/** Feeds the text in pieces of so many bytes. */
function parse(text: string, pieceBytes = text.length) {
  const { parser, answers } = startParser();
  for (let at = 0; at < text.length; at += pieceBytes) {
    parser.push(Buffer.from(text.slice(at, at + pieceBytes), 'latin1'));
  }
  return { parser, answers, answer: answers[0] };
}

const OK = 'HTTP/1.1 200 OK\r\n';
const CHUNKED = `${OK}Transfer-Encoding: chunked\r\n\r\n`;

describe('an answer', () => {
  test('whose head begins like the one before is read as its own, whatever the buffer still holds', () => {
    const before = `${OK}X: 1\r\nContent-Length: 2\r\n\r\n`;
    expect(parse(`${before}ok`).answer?.body).toBe('ok');
    for (let bytes = 1; bytes < before.length; bytes++) {
      const { parser, answers } = startParser();
      // What was read before lies behind what is read now.
      const buffer = Buffer.from(before);
      parser.push(buffer, bytes);
      expect(answers).toEqual([]);
      parser.push(Buffer.from(`${before.slice(bytes)}ok`));
      expect(answers).toMatchObject([{ head: { headers: { x: '1' } }, body: 'ok', ended: true }]);
    }
    expect(parse(`${before.replace('X: 1', 'X: 2')}ok`).answer?.head.headers['x']).toBe('2');
    expect(parse(`${before}ok`).answer?.head.headers['x']).toBe('1');
  });

  test.each([
    ['of a length', `${OK}Content-Length: 5\r\n\r\nhello`, 'hello'],
    ['in chunks', `${CHUNKED}3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n`, 'hello'],
    [
      'in chunks with extensions, zeros and capitals',
      `${CHUNKED}0005;a=b\r\nhello\r\n0A ; x\r\n0123456789\r\n0\r\n\r\n`,
      'hello0123456789',
    ],
    ['in chunks with trailers', `${CHUNKED}5\r\nhello\r\n0\r\nA: b\r\nC: d\r\n\r\n`, 'hello'],
    ['of nothing', `${OK}Content-Length: 0\r\n\r\n`, ''],
    ['of no chunk', `${CHUNKED}0\r\n\r\n`, ''],
    ['that has no body by its status', 'HTTP/1.1 204 No Content\r\n\r\n', ''],
    [
      'after interim ones',
      `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103\r\nLink: x\r\n\r\n${OK}Content-Length: 2\r\n\r\nok`,
      'ok',
    ],
  ])('%s is the same whatever the pieces it comes in', (_what, text, body) => {
    for (let bytes = 1; bytes <= text.length; bytes++) {
      const { answers, parser } = parse(text, bytes);
      expect(answers).toMatchObject([{ body, ended: true }]);
      expect([parser.isDone, parser.isPersistent]).toEqual([true, true]);
    }
  });

  test('without a length ends with the connection, which is then of no more use', () => {
    const { parser, answer } = parse(`${OK}\r\nhel`);
    parser.push(Buffer.from('lo'));
    expect(answer).toMatchObject({ body: 'hello', ended: false });
    parser.end();
    expect(answer).toMatchObject({ body: 'hello', ended: true });
  });

  test.each([
    ['within its head', OK],
    ['within its body', `${OK}Content-Length: 5\r\n\r\nhell`],
    ['between chunks', `${CHUNKED}5\r\nhello\r\n`],
    ['before the end of the trailers', `${CHUNKED}5\r\nhello\r\n0\r\n`],
  ])('whose connection ends %s is not complete', (_where, text) => {
    const { parser, answers } = parse(text);
    parser.end();
    expect(parser.isDone).toBe(false);
    expect(answers.every(({ ended }) => !ended)).toBe(true);
  });

  test('has its headers by lower-case name, without the space around them, and both of two', () => {
    const { answer } = parse(
      `${OK}X-One: \t a b \t\r\nX-TWO:c\r\nx-two: d\r\nEmpty:\r\nContent-Length: 0\r\n\r\n`,
    );
    expect(answer?.head.status).toBe(200);
    expect({ ...answer?.head.headers }).toEqual({
      'x-one': 'a b',
      'x-two': 'c, d',
      empty: '',
      'content-length': '0',
    });
  });

  test('may name a header as it likes', () => {
    const { answer } = parse(`${OK}__proto__: x\r\nconstructor: y\r\nContent-Length: 0\r\n\r\n`);
    expect(answer?.head.headers['constructor']).toBe('y');
    expect(answer?.head.headers['toString']).toBeUndefined();
  });

  test('can be followed by another on the same connection', () => {
    const { parser, answers } = parse(`${OK}Content-Length: 3\r\n\r\none`);
    parser.next();
    parser.push(Buffer.from(`${CHUNKED}3\r\ntwo\r\n0\r\n\r\n`));
    expect(answers).toMatchObject([{ body: 'one' }, { body: 'two' }]);
  });

  test.each([
    ['that says so', `${OK}Connection: keep-alive, Close\r\nContent-Length: 0\r\n\r\n`],
    ['of HTTP/1.0', 'HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n'],
  ])('%s leaves the connection of no more use', (_what, text) => {
    expect(parse(text).parser.isPersistent).toBe(false);
  });

  test('says how long the connection is kept, or leaves it open', () => {
    expect(parse(`${OK}Keep-Alive: timeout=5, max=100\r\nContent-Length: 0\r\n\r\n`).parser.idleMs).toBe(
      5000,
    );
    expect(parse(`${OK}Content-Length: 0\r\n\r\n`).parser.idleMs).toBe(Number.POSITIVE_INFINITY);
  });
});

describe('what is no answer is never taken for one', () => {
  test.each([
    ['something else', 'SSH-2.0-OpenSSH_9.2\r\n\r\n'],
    ['something else that ends no line', 'SSH'],
    ['another version', 'HTTP/2 200 OK\r\n\r\n'],
    ['a status of two digits', 'HTTP/1.1 20 OK\r\n\r\n'],
    ['a status of its own', 'HTTP/1.1 600 OK\r\n\r\n'],
    ['an empty line first', `\r\n${OK}\r\n`],
    ['another protocol', 'HTTP/1.1 101 Switching Protocols\r\n\r\n'],
    ['a line that ends in LF alone', 'HTTP/1.1 200 OK\n\r\n'],
    ['a header without a colon', `${OK}Content-Length 5\r\n\r\n`],
    ['a header with a space before the colon', `${OK}Content-Length : 5\r\n\r\n`],
    ['a header that is folded', `${OK}A: b\r\n c\r\n\r\n`],
    ['a header with a CR in it', `${OK}A: b\rContent-Length: 5\r\n\r\n`],
    ['a header with a NUL in it', `${OK}A: b\0\r\n\r\n`],
    ['two lengths', `${OK}Content-Length: 5\r\nContent-Length: 6\r\n\r\n`],
    ['a length and chunks', `${OK}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n`],
    ['a coding that is not known', `${OK}Transfer-Encoding: gzip, chunked\r\n\r\n`],
    ['a negative length', `${OK}Content-Length: -1\r\n\r\n`],
    ['a length that is no number', `${OK}Content-Length: 0x10\r\n\r\n`],
    ['a length beyond numbers', `${OK}Content-Length: 9999999999999999\r\n\r\n`],
    ['a chunk without a size', `${CHUNKED}\r\n`],
    ['a chunk with a sign', `${CHUNKED}+5\r\nhello\r\n`],
    ['a chunk with a prefix', `${CHUNKED}0x5\r\nhello\r\n`],
    ['a chunk of a size beyond numbers', `${CHUNKED}FFFFFFFFF\r\n`],
    ['a chunk that is longer than it says', `${CHUNKED}4\r\nhello\r\n`],
    ['bytes after the end', `${OK}Content-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n`],
    ['a head without an end', `${OK}A: ${'b'.repeat(20_000)}`],
    ['a head of too many lines', OK + 'A: b\r\n'.repeat(4000)],
    ['an extension without an end', `${CHUNKED}5;${'b'.repeat(20_000)}`],
    ['trailers without an end', `${CHUNKED}0\r\n${'A: b\r\n'.repeat(4000)}`],
  ])('%s', (_what, text) => {
    expect(() => parse(text)).toThrow(UnreadableResponse);
    expect(() => parse(text, 1)).toThrow(UnreadableResponse);
  });
});

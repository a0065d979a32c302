import { Lexer, type Source, type Token, TokenKind } from 'graphql';
import { requireWithin } from './cost.ts';
import type { DocumentLimits } from './limits.ts';

/** Reads the tokens of a document, and no further than the limits allow: the parser never gets what lies beyond. */
export class BoundedLexer extends Lexer {
  readonly #limits: DocumentLimits;
  #tokens = 0;
  #nesting = 0;

  constructor(source: Source, limits: DocumentLimits) {
    super(source);
    this.#limits = limits;
  }

  /** @throws GraphQLError `DOCUMENT_TOO_COMPLEX`, as well as what the lexer itself throws. */
  override advance(): Token {
    const token = super.advance();
    const { lines, tokens, nesting } = this.#limits;
    requireWithin('lines', this.line, lines);
    if (token.kind !== TokenKind.EOF) requireWithin('tokens', ++this.#tokens, tokens);
    if (OPENING.has(token.kind)) requireWithin('nesting', ++this.#nesting, nesting);
    else if (CLOSING.has(token.kind)) this.#nesting--;
    return token;
  }
}

const OPENING: ReadonlySet<string> = new Set([TokenKind.BRACE_L, TokenKind.BRACKET_L, TokenKind.PAREN_L]);
const CLOSING: ReadonlySet<string> = new Set([TokenKind.BRACE_R, TokenKind.BRACKET_R, TokenKind.PAREN_R]);

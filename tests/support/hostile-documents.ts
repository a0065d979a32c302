/** Documents and variables that cost a server more than they cost their sender, unless it takes care. */

export const times = (count: number, text: (index: number) => string) =>
  Array.from({ length: count }, (_, index) => text(index)).join(' ');

export const nested = (levels: number): string =>
  levels === 1 ? '{ hello }' : `{ self ${nested(levels - 1)} }`;

const fragmentBomb = (levels: number) =>
  `{ ...F0 } ${times(levels, (i) => `fragment F${i} on Query { a: self { ...F${i + 1} } b: self { ...F${i + 1} } }`)} fragment F${levels} on Query { hello }`;

/** What it is, the document, and the codes and limits that it may be refused with. */
export const HOSTILE_DOCUMENTS: readonly (readonly [string, string, RegExp])[] = [
  ['5,000 aliases', `{ ${times(5000, (i) => `a${i}: hello`)} }`, /DOCUMENT_TOO_COMPLEX/],
  ['10,000 directives', `{ hello ${times(10_000, () => '@x')} }`, /DOCUMENT_TOO_COMPLEX/],
  ['3,000 times the same field', `{ ${times(3000, () => 'hello')} }`, /DOCUMENT_TOO_COMPLEX/],
  ['a fragment bomb of 2^22 fields', fragmentBomb(22), /DOCUMENT_TOO_COMPLEX/],
  ['a fragment bomb of 2^60 fields', fragmentBomb(60), /DOCUMENT_TOO_COMPLEX/],
  [
    'a circle of fragments',
    '{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }',
    /VALIDATION/,
  ],
  ['a fragment in itself', '{ ...A } fragment A on Query { self { ...A } }', /VALIDATION/],
  ['a deep selection', nested(600), /DOCUMENT_TOO_COMPLEX/],
  ['a deep list', `{ hello(name: ${'['.repeat(990)}`, /DOCUMENT_TOO_COMPLEX nesting/],
  ['a deep object', `{ hello(name: ${'{a:'.repeat(330)}`, /DOCUMENT_TOO_COMPLEX nesting/],
  ['a deep type', `query($a: ${'['.repeat(990)}`, /DOCUMENT_TOO_COMPLEX nesting/],
  ['16 KB of document', `{ hello(name: "${'x'.repeat(16 * 1024)}") }`, /DOCUMENT_TOO_COMPLEX bytes/],
  ['many operations', times(600, (i) => `query Q${i}{hello}`), /DOCUMENT_TOO_COMPLEX|RESOLUTION/],
  ['many unknown fields', `{ self { ${times(490, (i) => `hallo${i}`)} } }`, /VALIDATION/],
  ['many lines', `{ ${'\n'.repeat(15_000)} ${times(20, (i) => `hallo${i}`)} }`, /DOCUMENT_TOO_COMPLEX lines/],
  ['many comments', `${'#\n'.repeat(7500)} { hallo }`, /DOCUMENT_TOO_COMPLEX lines/],
  [
    '480 times the same field',
    `{ self { ${times(240, () => 'self { hello }')} } }`,
    /DOCUMENT_TOO_COMPLEX pairs/,
  ],
  ['many unknown arguments', `{ hello(${times(240, (i) => `a${i}: 1`)}) }`, /VALIDATION/],
  ['many unknown values', `mutation { take(input: {${times(230, (i) => `a${i}: "x"`)}}) }`, /VALIDATION/],
  [
    'many lines of text',
    `mutation { take(input: {text: "${'\\n'.repeat(7500)}", a: 1, b: 1, c: 1, d: 1}) }`,
    /VALIDATION/,
  ],
  ['a long name', `{ ${'x'.repeat(15_000)} }`, /VALIDATION/],
];

const MEGABYTE = 1_000_000;
const TAKE = JSON.stringify('mutation($i: Nested!) { take(input: $i) }');

const names = (count: number, name: (index: number) => string) =>
  Array.from({ length: count }, (_, index) => `"${name(index)}":1`).join(',');

/** What it is, the body of the request, and the code that it is refused with. */
export const HOSTILE_BODIES: readonly (readonly [string, string, string])[] = [
  [
    'a megabyte of document',
    JSON.stringify({ query: `{ hello(name: "${'x'.repeat(MEGABYTE)}") }` }),
    'DOCUMENT_TOO_COMPLEX',
  ],
  ...(
    [
      ['deep variables', `${'{"i":'.repeat(5000)}1${'}'.repeat(5000)}`, 'BAD_REQUEST'],
      ['very deep variables', '['.repeat(MEGABYTE / 2) + ']'.repeat(MEGABYTE / 2), 'BAD_REQUEST'],
      ['wide variables', `[${'1,'.repeat(MEGABYTE / 2)}1]`, 'BAD_REQUEST'],
      ['variables of 45,000 names', `{${names(45_000, (i) => `a${i}`)}}`, 'BAD_REQUEST'],
      ['variables with a megabyte in one name', `{${names(1, () => 'x'.repeat(MEGABYTE))}}`, 'BAD_REQUEST'],
      ['variables with a thousand unknown names', `{${names(1000, (i) => `a${i}`)}}`, 'BAD_USER_INPUT'],
      [
        'variables with long unknown names',
        `{${names(1000, (i) => `${'x'.repeat(190)}${i}`)}}`,
        'BAD_USER_INPUT',
      ],
      [
        'variables with 200 KB of text in the wrong place',
        `{"mood":"${'x'.repeat(MEGABYTE / 5)}"}`,
        'BAD_USER_INPUT',
      ],
      [
        'variables with 200 KB of text beside what is wrong',
        `{"text":"${'x'.repeat(MEGABYTE / 5)}",${names(50, (i) => `a${i}`)}}`,
        'BAD_USER_INPUT',
      ],
    ] as const
  ).map(([name, value, code]) => [name, `{"query":${TAKE},"variables":{"i":${value}}}`, code] as const),
];

/** About the most that one accepted document can make the server do. */
export const COSTLY_DOCUMENT = '{ users(first: 3333) { edges { node { id } } } }';

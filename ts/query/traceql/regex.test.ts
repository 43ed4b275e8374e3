/** What is a regular expression of RE2's kind. */

import { expect, test } from 'vitest'
import { regexProblem } from './regex.js'

test.each([
  ...[
    '',
    'a',
    'a|b',
    'a.*b+c?',
    '(a|b)*',
    'a{2}',
    'a{2,}',
    'a{2,3}?',
    '[a-z]+',
    '[^]a]',
    '[[:alpha:]]',
  ],
  ...[
    '\\d+\\.\\w',
    '\\pL\\p{Greek}',
    '(?i)a',
    '(?i:a)',
    '(?P<n>a)',
    '(?<n>a)',
    '(?:a)',
    '\\x41\\x{e9}',
  ],
  ...['^a$', '\\Aa\\z', 'é+', '(?s).*', '(?-i)a', 'a\\{', '\\bword\\B', '(a*)*', '[\\]\\d]'],
])('%s is one', (pattern) => {
  expect(regexProblem(pattern)).toBeNull()
})

test.each([
  ['(', 'not closed'],
  [')', 'without its `(`'],
  ['[', 'not closed'],
  ['[a', 'not closed'],
  ['*a', 'nothing stands before'],
  ['a|*', 'nothing stands before'],
  ['a**', 'nothing stands before'],
  ['a{', 'written `\\{`'],
  ['a{3,2}', 'ends before it begins'],
  ['a{2000}', 'more than 1000'],
  ['(?=a)', 'looks around'],
  ['(?<!a)', 'looks around'],
  ['(a)\\1', 'no backreferences'],
  ['\\', 'ends in'],
  ['\\q', 'no escape'],
  ['('.repeat(200), 'too deep'],
  ['a'.repeat(5000), 'characters'],
])('%s is none', (pattern, problem) => {
  expect(regexProblem(pattern)).toContain(problem)
})

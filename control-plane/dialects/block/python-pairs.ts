import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'

/** What escapes may stand for that Postgres takes into no text: NUL, and half of a surrogate pair. */
const Text = z.string().refine((text) => !text.includes('\0') && text.isWellFormed())
const Pairs = z.record(Text, Text)
const PYTHON = /^\s*\{\s*(.*?)\s*\}\s*$/s
const PYTHON_PAIR = /^u?'((?:[^'\\]|\\.)*)'\s*:\s*u?'((?:[^'\\]|\\.)*)'\s*(?:,\s*|$)/s

function refuse(): never {
  throw new FleetError('invalid', 'metadata: must be an object of texts', { field: 'metadata' })
}

/** JSON, or a dict of texts as Python's `repr` shows it. @throws invalid */
export function pairsOf(text: string): Readonly<Record<string, string>> {
  try {
    return Pairs.parse(JSON.parse(text))
  } catch {
    // It is Python, or nothing.
  }
  let rest = PYTHON.exec(text)?.[1] ?? refuse()
  const pairs: [string, string][] = []
  while (rest !== '') {
    const [all, name = '', value = ''] = PYTHON_PAIR.exec(rest) ?? refuse()
    pairs.push([name.replaceAll(/\\(.)/gs, '$1'), value.replaceAll(/\\(.)/gs, '$1')])
    rest = rest.slice(all.length)
  }
  return Object.fromEntries(pairs)
}

import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { AGENT } from '../deploy/node-flags.ts'
import { PROGRAMS } from './compile.ts'

const FOUND = /transpile cache for StrippedTypeScript file:\/\/(\S+?)\.\.\.success/g

test('what was compiled before an agent starts is all that it and its threads run', (t) => {
  const cache = mkdtempSync(join(tmpdir(), 'holdfast-compile-'))
  t.teardown(() => rmSync(cache, { recursive: true }))
  const compile = () =>
    execFileSync(
      '/bin/sh',
      ['-c', 'exec "$0" "$@" 2>&1', process.execPath, ...AGENT.flags, join(import.meta.dirname, 'main.ts'), 'compile'],
      {
        env: { NODE_COMPILE_CACHE: cache, NODE_DEBUG_NATIVE: 'COMPILE_CACHE' },
        maxBuffer: 2 ** 28,
        timeout: 60_000,
      },
    ).toString()
  compile()
  const found = new Set([...compile().matchAll(FOUND)].map(([, path]) => path))
  const folder = import.meta.dirname
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  const sources = names.filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
  t.true(sources.length > 200)
  t.deepEqual(
    sources.filter((name) => !found.has(join(folder, name))),
    PROGRAMS.filter((name) => name !== 'main.ts'),
  )
})

import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { identify } from './process-identity.ts'
import { StartError } from './start-error.ts'
import { StateLock } from './state-lock.ts'

function lockPath(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-lock-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  return join(folder, 'lock')
}

test('a state directory has one holder at a time, and a refusal names it', (t) => {
  const path = lockPath(t)
  using _held = StateLock.take(path)
  const refusal = t.throws(() => StateLock.take(path), { instanceOf: StartError })
  t.true(refusal.message.includes(`pid ${process.pid}`))
})

test('a released lock can be taken again and leaves no file', (t) => {
  const path = lockPath(t)
  StateLock.take(path)[Symbol.dispose]()
  t.false(existsSync(path))
  StateLock.take(path)[Symbol.dispose]()
  t.deepEqual(readdirSync(join(path, '..')), [])
})

test('the lock of a process that has ended is taken over', (t) => {
  const path = lockPath(t)
  const { pid } = spawnSync('/bin/true')
  writeFileSync(path, JSON.stringify({ pid, startedAt: 'long ago' }))
  using _taken = StateLock.take(path)
  t.throws(() => StateLock.take(path), { instanceOf: StartError })
})

test('a living process that merely has the holder’s old pid does not hold the lock', (t) => {
  const path = lockPath(t)
  writeFileSync(path, JSON.stringify({ pid: process.ppid, startedAt: 'another boot:1' }))
  t.notThrows(() => StateLock.take(path))
})

test('a damaged lock is stale', (t) => {
  const path = lockPath(t)
  writeFileSync(path, '')
  t.notThrows(() => StateLock.take(path))
})

test('releasing a lock that somebody else has since taken leaves it alone', (t) => {
  const path = lockPath(t)
  const lock = StateLock.take(path)
  writeFileSync(path, JSON.stringify(identify(process.ppid)))
  lock[Symbol.dispose]()
  t.true(existsSync(path))
})

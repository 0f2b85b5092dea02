import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { ConfigError } from '../shared/config.ts'
import { canMount, mountLoop, temporaryDirectory } from '../test/harness/loop-mount.ts'
import { openPoolMarks, POOL_MARK } from './pool-marks.ts'

test('what lies under the path of a pool that is not mounted is not taken for it', (t) => {
  if (!canMount(t)) return t.pass()
  const state = join(temporaryDirectory(t), 'state')
  const path = mountLoop(t, 'ext4')
  const pool = { name: 'a', path }
  const start = () => {
    const marks = openPoolMarks(state)
    marks.require(pool)
    marks.mark(path)
  }
  start()
  start()
  execFileSync('/bin/umount', [path])
  const error = t.throws(start, { instanceOf: ConfigError })
  t.regex(error?.message ?? '', new RegExp(`the pool a .*${POOL_MARK} is missing`))
  t.deepEqual(readdirSync(path), [])
  writeFileSync(join(path, POOL_MARK), '')
  t.notThrows(start)
  execFileSync('/bin/mount', ['--bind', path, path])
})

test('a pool is new to an agent that has not used it, and moves with its mark', (t) => {
  const [one, other] = [temporaryDirectory(t), temporaryDirectory(t)]
  const path = join(temporaryDirectory(t), 'pool')
  const first = openPoolMarks(one)
  first.require({ name: 'a', path })
  mkdirSync(path)
  first.mark(path)
  const second = openPoolMarks(other)
  second.require({ name: 'b', path })
  second.mark(path)
  rmSync(join(path, POOL_MARK))
  for (const state of [one, other])
    t.throws(() => openPoolMarks(state).require({ name: 'a', path }), { instanceOf: ConfigError })
})

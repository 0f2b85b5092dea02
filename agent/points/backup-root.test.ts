import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { temporaryDirectory } from '../../test/harness/loop-mount.ts'
import { OWN_TARGET } from '../../test/harness/point-orders.ts'
import { pointsOf } from '../../test/harness/points.ts'
import { testUnless } from '../../test/harness/system-packages.ts'
import { guardBackupRoot, ROOT_MARK } from './backup-root.ts'

const asked = { target: OWN_TARGET, sealed: undefined, context: 'order/x' }
const watch = { signal: new AbortController().signal }

testUnless(process.geteuid?.() === 0 ? undefined : 'mounting needs root')(
  'a backup root whose disk is not mounted is neither written below its mount point nor read',
  async (t) => {
    const [state, parent] = [temporaryDirectory(t), temporaryDirectory(t)]
    const mountPoint = join(parent, 'disk')
    mkdirSync(mountPoint)
    const backupRoot = join(mountPoint, 'backups')
    const mount = () => execFileSync('/bin/mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', mountPoint])
    const unmount = () => execFileSync('/bin/umount', ['--lazy', mountPoint])
    /** An agent's life. */
    const use = async () => {
      const points = pointsOf(t, { state, backupRoot })
      try {
        await using lease = await points.tools.lease(asked)
        await lease.target.mkdir('a', watch)
      } finally {
        await points[Symbol.asyncDispose]()
      }
    }
    mount()
    t.teardown(() =>
      execFileSync('/bin/sh', ['-c', 'while umount --lazy "$1" 2>/dev/null; do :; done', 'x', mountPoint]),
    )
    await use()
    t.deepEqual(readdirSync(backupRoot).toSorted(), [ROOT_MARK, 'a'].toSorted())
    await use()
    unmount()
    const refused = { code: 'unavailable', message: /HOLDFAST_AGENT_BACKUP_ROOT/ } as const
    for (const _ of [1, 2]) await t.throwsAsync(use, refused)
    t.deepEqual(readdirSync(backupRoot), [])
    // Another disk is another root, until somebody says otherwise.
    mount()
    await t.throwsAsync(use, refused)
    writeFileSync(join(backupRoot, ROOT_MARK), '')
    await use()
    t.true(existsSync(join(backupRoot, 'a')))
  },
)

test('each root is remembered for itself, one that is marked is taken as it is, and one that cannot be marked is let be', (t) => {
  const [state, first, second] = [temporaryDirectory(t), temporaryDirectory(t), temporaryDirectory(t)]
  const guard = (root: string) => guardBackupRoot({ root, state })
  guard(first)()
  rmSync(join(first, ROOT_MARK))
  t.throws(guard(first), { code: 'unavailable' })
  writeFileSync(join(second, ROOT_MARK), 'by another agent')
  guard(second)()
  rmSync(join(second, ROOT_MARK))
  t.throws(guard(second), { code: 'unavailable' })
  const absent = guard(join(first, 'absent'))
  t.notThrows(absent)
  t.notThrows(absent)
})

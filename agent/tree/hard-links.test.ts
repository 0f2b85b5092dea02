import { closeSync, linkSync, mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import test from 'ava'
import { canMount, mountLoop } from '../../test/harness/loop-mount.ts'
import { cString } from '../native/libc.ts'
import { Status } from '../native/status.ts'
import { HardLinks } from './hard-links.ts'

const ATTEMPTS = 200

test('a file that got the number of one that is gone is not that one', async (t) => {
  if (!canMount(t)) return t.pass()
  const mounted = mountLoop(t, 'ext4')
  const [liveFd = -1, cloneFd = -1] = ['live', 'clone'].map((name) => {
    mkdirSync(join(mounted, name))
    const fd = openSync(join(mounted, name), 'r')
    t.teardown(() => closeSync(fd))
    return fd
  })
  const [file, other] = [join(mounted, 'live', 'file'), join(mounted, 'live', 'other')]
  const make = () => {
    writeFileSync(file, '')
    linkSync(file, other)
    return new Status().readName(liveFd, cString('file'))
  }
  const name = cString('made')
  using links = new HardLinks()
  links.within(cloneFd)
  const old = make()
  if (old === undefined) return t.fail()
  writeFileSync(join(mounted, 'clone', 'made'), '')
  links.keep(old, cloneFd, name)
  t.true(links.repeat(old, cloneFd, cString('again')))
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    rmSync(file)
    rmSync(other)
    // Behind a tick of the clock that times of birth are taken from.
    await pause(20)
    const status = make()
    if (status?.inode !== old.inode) continue
    t.false(links.repeat(status, cloneFd, cString('new')))
    return
  }
  t.fail('no number came again')
})

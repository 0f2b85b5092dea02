import { mkdirSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { temporaryDirectory } from '../../test/harness/loop-mount.ts'
import { allowsDevices } from './pool-mount.ts'

test('devices of a pool are those of the mount that it lies on', (t) => {
  const base = realpathSync(temporaryDirectory(t))
  const pool = join(base, 'a pool')
  mkdirSync(pool)
  const mount = (path: string, options: string) =>
    `36 35 98:0 / ${path.replaceAll(' ', '\\040')} ${options} - btrfs /dev/loop0 rw\n`
  t.true(allowsDevices(pool, mount('/', 'rw,relatime')))
  t.false(allowsDevices(pool, mount('/', 'rw,nodev')))
  t.false(allowsDevices(pool, mount('/', 'rw') + mount(pool, 'rw,nodev,noatime') + mount(base, 'rw')))
  t.true(allowsDevices(pool, mount('/', 'rw') + mount(pool, 'rw,nodev') + mount(pool, 'rw')))
  t.true(allowsDevices(pool, mount('/', 'rw') + mount(`${pool} beside`, 'rw,nodev')))
})

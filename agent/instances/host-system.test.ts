import test from 'ava'
import { isHostSystem } from './host-system.ts'

test('only what is public of the system, and only to be read, is borrowed', (t) => {
  const borrowed = (source: string, readonly = true) => isHostSystem({ source, readonly })
  t.true(borrowed('/usr/lib'))
  t.true(borrowed('/lib'))
  t.false(borrowed('/usr/lib', false))
  for (const path of ['/', '/etc', '/root', '/usr/local', '/usr/../etc', '/nowhere', '/library', '/var/lib']) {
    t.false(borrowed(path), path)
  }
})

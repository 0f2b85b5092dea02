import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ageKeys, runAge } from './harness/age.ts'
import { OWN_TARGET, pointOrders, refOf, SERIES } from './harness/point-orders.ts'
import { lacksTool, testUnless } from './harness/system-packages.ts'

const it = testUnless(lacksTool('age', 'age-keygen'))

it('the image of a series is encrypted as its points are, and what it was before stays with the point made with it', async (t) => {
  const orders = await pointOrders(t)
  writeFileSync(join(orders.root, 'file'), 'content\n')
  const { identity, recipient } = ageKeys()
  const target = { ...OWN_TARGET, recipients: [recipient] }
  const told = () => JSON.parse(readFileSync(join(orders.backups, 'backup-metadata'), 'utf8')).points.at(-1).image

  const plain = orders.create()
  await orders.run(plain)
  const properties = { place: { dataset: orders.dataset }, driver: 'copy', about: { dataset: 'data' } }
  const text = execFileSync('/bin/tar', ['-xOf', join(orders.backups, 'image.tar'), 'properties.json']).toString()
  t.like(JSON.parse(text), properties)

  const sealed = orders.create([], { target })
  await orders.run(sealed)
  t.deepEqual(
    readdirSync(join(orders.backups, plain.name)).filter((name) => name.startsWith('image')),
    ['image.tar'],
  )
  const image = join(orders.backups, 'image.tar.age')
  t.is(told().sha256, execFileSync('/usr/bin/sha256sum', [image]).toString().slice(0, 64))
  const key = join(orders.outside, 'key')
  writeFileSync(key, `${identity}\n`)
  const opened = execFileSync('/bin/tar', ['-xO', 'properties.json'], {
    input: runAge('age', ['-d', '-i', key, image]),
  })
  t.like(JSON.parse(opened.toString()), properties)
  // Sealed anew each time, it would differ: it is left as it is.
  const before = readFileSync(image)
  await orders.run(orders.create([], { target }))
  t.deepEqual(readFileSync(image), before)
  rmSync(image)
  await orders.run(orders.create([], { target }))
  t.deepEqual(runAge('age', ['-d', '-i', key, image]).subarray(0, 15), Buffer.from('properties.json'))

  // What is beside the files of a point is none of them.
  await orders.run({
    kind: 'point.verify',
    target: OWN_TARGET,
    series: SERIES,
    pointId: plain.pointId,
    chain: [refOf(plain)],
  })
  const { name, pointId } = plain
  await orders.run({ kind: 'point.delete', target: OWN_TARGET, series: SERIES, name, pointId })
  t.false(readdirSync(orders.backups).includes(plain.name))
})

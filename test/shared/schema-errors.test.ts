import { Type } from '@sinclair/typebox'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import { expect, it } from 'vitest'
import { schemaErrors } from '../../shared/schema-errors.ts'

it('gives back what was wrong, but nothing of a body that takes a secret', () => {
  const shape = (writeOnly: boolean) =>
    TypeCompiler.Compile(
      Type.Object(
        { name: Type.String(), login: Type.Object({ password: Type.String(writeOnly ? { writeOnly } : {}) }) },
        { additionalProperties: false },
      ),
    )
  const wrong = { name: 5, login: { password: ['hunter2'] }, pasword: 'hunter2' }
  expect(JSON.stringify(schemaErrors(shape(false), wrong))).toContain('hunter2')
  for (const body of [wrong, [wrong], JSON.stringify(wrong)]) {
    const errors = schemaErrors(shape(true), body)
    expect(JSON.stringify(errors)).not.toContain('hunter2')
    expect(errors.length).toBeGreaterThan(0)
  }
  expect(schemaErrors(shape(true), wrong).map(({ pointer }) => pointer)).toEqual([
    '/pasword',
    '/name',
    '/login/password',
  ])
})

it('says what is wrong with what is nested as deep as JSON may be', () => {
  const deep = JSON.parse(`${'['.repeat(200_000)}${']'.repeat(200_000)}`)
  const errors = schemaErrors(TypeCompiler.Compile(Type.Object({ name: Type.String() })), { name: deep })
  expect(errors).toMatchObject([{ pointer: '/name', value: '…' }])
})

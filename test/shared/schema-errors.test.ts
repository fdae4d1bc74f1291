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

import { Alert, Button, Group, Modal, PasswordInput, Stack, Text } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState, type FormEvent } from 'react';
import { useTranslation } from 'react-i18next';
import { post, setGuard, type Visitor } from '../api';
import { become, visitorKey } from '../session';

/**
 * SignInAgain stands over a page whose session has ended, so that nothing that was typed
 * there is lost. Only the same person gets the page back; leaving forgets it.
 */
export function SignInAgain({ email }: { email: string }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const [password, setPassword] = useState('');
  const enter = useMutation({
    mutationFn: () => post<Visitor>('/console/api/session', { email, password }),
    onSuccess: (visitor) => {
      setGuard(visitor.guard);
      client.setQueryData(visitorKey, visitor);
      void client.invalidateQueries({ predicate: (q) => q.queryKey[0] !== visitorKey[0] });
    },
    onError: () => setPassword(''),
  });
  const submit = (e: FormEvent) => {
    e.preventDefault();
    enter.mutate();
  };
  const leave = () => {
    const now = client.getQueryData<Visitor>(visitorKey);
    if (now) become(client, now);
  };
  return (
    <Modal opened onClose={() => undefined} withCloseButton={false} closeOnEscape={false} closeOnClickOutside={false} zIndex={1000} overlayProps={{ blur: 6 }} title={t('again.title')}>
      <form onSubmit={submit}>
        <Stack>
          <Text size="sm">{t('again.text', { email })}</Text>
          {enter.error ? (
            <Alert color="red" role="alert">
              {enter.error.message}
            </Alert>
          ) : null}
          <input type="text" name="username" autoComplete="username" value={email} readOnly hidden />
          <PasswordInput visibilityToggleButtonProps={{ 'aria-label': t('signIn.show') }} label={t('signIn.password')} autoComplete="current-password" required data-autofocus value={password} onChange={(e) => setPassword(e.currentTarget.value)} />
          <Group justify="flex-end">
            <Button variant="default" onClick={leave}>
              {t('nav.signOut')}
            </Button>
            <Button type="submit" loading={enter.isPending}>
              {t('signIn.submit')}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}

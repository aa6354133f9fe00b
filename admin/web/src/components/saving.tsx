import { Button, Group } from '@mantine/core';
import { useTranslation } from 'react-i18next';

/** Saving is the foot of a form that changes what is there. */
export function Saving({ pending, changed }: { pending: boolean; changed: boolean }) {
  const { t } = useTranslation();
  return (
    <Group justify="flex-end" mt="md">
      <Button type="submit" loading={pending} disabled={!changed}>
        {t('common.save')}
      </Button>
    </Group>
  );
}
